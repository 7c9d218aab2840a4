import numpy as np

from monai_brain.evaluation.baselines import copies_among, nearest_neighbors, thumbnails
from monai_brain.io.write import write_png


def test_nearest_neighbor_of_a_brighter_copy_is_the_original(tmp_path, phantom):
    images = [phantom(index, 5) for index in range(4)]
    for index, image in enumerate(images):
        write_png(tmp_path / f"{index}.png", image)
        write_png(tmp_path / f"dark_{index}.png", image // 2)
    references = thumbnails([str(tmp_path / f"{i}.png") for i in range(4)])
    nearest, similarity = nearest_neighbors(references, thumbnails([str(tmp_path / f"dark_{i}.png") for i in range(4)]))
    assert nearest.tolist() == [0, 1, 2, 3]
    assert (similarity > 0.99).all()
    np.testing.assert_allclose(np.linalg.norm(references, axis=1), 1, atol=1e-5)


def test_mirror_images_are_copies_and_other_pictures_are_not(tmp_path, phantom):
    images = [phantom(index, 5) for index in range(4)]
    for index, image in enumerate(images):
        write_png(tmp_path / f"{index}.png", image)
        write_png(tmp_path / f"mirrored_{index}.png", np.ascontiguousarray(image[:, ::-1]))
    references = thumbnails([str(tmp_path / f"{i}.png") for i in range(2)])
    queries = thumbnails([str(tmp_path / f"mirrored_{i}.png") for i in range(4)])
    assert copies_among(references, queries) == 2
