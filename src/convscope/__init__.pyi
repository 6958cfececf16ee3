from .activations import feature_maps, filters
from .attribution import ATTRIBUTIONS, occlusion, saliency
from .embedding import Embeddings, EmbeddingStore, cluster, duplicates, embed, project
from .errors import (
    ConvscopeError,
    ImageError,
    Interrupted,
    LayerError,
    ModelError,
    OutputError,
    ParameterError,
    StoreError,
    TargetError,
)
from .evaluation import attribute_dataset, evaluate_retrieval
from .images import ImageSet, load_images
from .models import Layer, Model, Preprocessing, load_model
from .report import report
from .results import (
    Attribution,
    Clusters,
    Duplicates,
    FeatureMaps,
    Filters,
    Neighbors,
    Prediction,
    Projection,
    Provenance,
    Result,
    Retrieval,
    Visualization,
)
from .samples import write_samples
from .synthesis import visualize

__all__ = [
    "ATTRIBUTIONS",
    "Attribution",
    "Clusters",
    "ConvscopeError",
    "Duplicates",
    "EmbeddingStore",
    "Embeddings",
    "FeatureMaps",
    "Filters",
    "ImageError",
    "ImageSet",
    "Interrupted",
    "Layer",
    "LayerError",
    "Model",
    "ModelError",
    "Neighbors",
    "OutputError",
    "ParameterError",
    "Prediction",
    "Preprocessing",
    "Projection",
    "Provenance",
    "Result",
    "Retrieval",
    "StoreError",
    "TargetError",
    "Visualization",
    "attribute_dataset",
    "cluster",
    "duplicates",
    "embed",
    "evaluate_retrieval",
    "feature_maps",
    "filters",
    "load_images",
    "load_model",
    "occlusion",
    "project",
    "report",
    "saliency",
    "visualize",
    "write_samples",
]
