"""Attribution: which pixels matter for a score. One method, one file."""

from ..registry import ATTRIBUTIONS
from .attention_gradient import attention_gradient
from .attention_rollout import attention_rollout
from .channel_relevance import channel_relevance
from .deconvnet import deconvnet
from .deep_lift import deep_lift
from .eigen_cam import eigen_cam
from .grad_cam import grad_cam
from .grad_cam_plus_plus import grad_cam_plus_plus
from .guided_backprop import guided_backprop
from .guided_grad_cam import guided_grad_cam
from .integrated_gradients import integrated_gradients
from .kernel_shap import kernel_shap
from .layer_cam import layer_cam
from .lime import lime
from .lrp import lrp
from .occlusion import occlusion
from .occlusion_multiscale import occlusion_multiscale
from .rise import rise
from .saliency import saliency
from .score_cam import score_cam
from .smoothgrad import smoothgrad
from .vargrad import vargrad

__all__ = [
    "ATTRIBUTIONS",
    "attention_gradient",
    "attention_rollout",
    "channel_relevance",
    "deconvnet",
    "deep_lift",
    "eigen_cam",
    "grad_cam",
    "grad_cam_plus_plus",
    "guided_backprop",
    "guided_grad_cam",
    "integrated_gradients",
    "kernel_shap",
    "layer_cam",
    "lime",
    "lrp",
    "occlusion",
    "occlusion_multiscale",
    "rise",
    "saliency",
    "score_cam",
    "smoothgrad",
    "vargrad",
]
