"""Look inside the default network with one photo: ``python examples/look_inside.py out/look``."""

import sys
from pathlib import Path

from skimage import data

from convscope import feature_maps, load_model, occlusion, saliency, visualize


def main(output: Path) -> None:
    model = load_model()
    photo = data.coffee()  # or a path, a PIL image, a folder

    prediction = model.predict(photo)
    for label, _, probability, score in prediction.top(3)[0]:
        print(f"{probability:6.1%}  score {score:5.2f}  {label}")
    best = prediction.top(1)[0][0].index

    results = {
        "prediction": prediction,
        "feature-maps": feature_maps(model, photo),
        "occlusion": occlusion(model, photo, target=best, window=64),
        "saliency": saliency(model, photo, target=best),
        "visualization": visualize(model, target=best, n_steps=16),  # the default gives a clearer picture
    }
    for name, result in results.items():
        print(result.save(output / name) / "picture.png")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/look_inside.py NEW_FOLDER")
    main(Path(sys.argv[1]))
