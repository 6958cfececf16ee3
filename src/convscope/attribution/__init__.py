"""Attribution: which pixels matter for a score. One method, one file."""

from ..registry import ATTRIBUTIONS
from .occlusion import occlusion
from .saliency import saliency

__all__ = ["ATTRIBUTIONS", "occlusion", "saliency"]
