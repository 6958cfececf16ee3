"""Attribution: which pixels matter for a score. One method, one file."""

from ..registry import ATTRIBUTIONS
from .deconvnet import deconvnet
from .guided_backprop import guided_backprop
from .integrated_gradients import integrated_gradients
from .occlusion import occlusion
from .saliency import saliency
from .smoothgrad import smoothgrad
from .vargrad import vargrad

__all__ = [
    "ATTRIBUTIONS",
    "deconvnet",
    "guided_backprop",
    "integrated_gradients",
    "occlusion",
    "saliency",
    "smoothgrad",
    "vargrad",
]
