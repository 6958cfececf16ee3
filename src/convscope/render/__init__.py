"""Draw results: the only place that turns numbers into colors."""

from .attribution_panels import attribution_overlay
from .colors import Scale
from .feature_map_figures import channel_tiles, top_units
from .filter_figures import filter_summary, filter_tiles, is_faint
from .heat_layers import ground, layer_uri
from .image_uris import image_uri
from .map_panels import peak_depth
from .neighbor_figures import neighbor_rows, query_label
from .overlays import attribution_scale
from .pictures import data_uri, figure, input_uri, panel_uri, plot, save_png
from .unit_figures import patch_field, patch_tiles, unit_image_names, where_silent
from .unit_page_figures import lit_images, picture_tile

__all__ = [
    "Scale",
    "attribution_overlay",
    "attribution_scale",
    "channel_tiles",
    "data_uri",
    "figure",
    "filter_summary",
    "filter_tiles",
    "ground",
    "image_uri",
    "input_uri",
    "is_faint",
    "layer_uri",
    "lit_images",
    "neighbor_rows",
    "panel_uri",
    "patch_field",
    "patch_tiles",
    "peak_depth",
    "picture_tile",
    "plot",
    "query_label",
    "save_png",
    "top_units",
    "unit_image_names",
    "where_silent",
]
