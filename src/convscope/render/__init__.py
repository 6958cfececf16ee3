"""Results as pictures: the only place that turns numbers into colors."""

from .attributions import attribution_map, attribution_overlay, attribution_scale, is_grainy
from .colors import Scale
from .images import image_uri
from .maps import channel_tiles, top_units
from .neighbors import neighbor_rows, query_label
from .pictures import data_uri, figure, plot, save_png
from .projections import label_styles
from .weights import filter_summary, filter_tiles, is_faint

__all__ = [
    "Scale",
    "attribution_map",
    "attribution_overlay",
    "attribution_scale",
    "channel_tiles",
    "data_uri",
    "figure",
    "filter_summary",
    "filter_tiles",
    "image_uri",
    "is_faint",
    "is_grainy",
    "label_styles",
    "neighbor_rows",
    "plot",
    "query_label",
    "save_png",
    "top_units",
]
