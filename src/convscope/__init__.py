"""Look inside a convolutional neural network.

The public names are listed in ``__init__.pyi`` and imported when they are first used, so that
``import convscope`` stays light.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
