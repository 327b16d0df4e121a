"""Miniatures of the published data sets, made so that a frame put beside another's mask is found out.

Every picture carries its number as grey level in its left half, and a mask tells the number of the frame it was
drawn for: see `number_in` and `drawn_mask`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from tests.samples.source_files import from_luma, write_metaimage, write_video

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from calibration.data.base import LabelledFrame

HEIGHT, WIDTH = 24, 32
PSFHS_CODES, TRAIN_CODES, TEST_CODES = (0, 1, 2), (0, 7, 8), (0, 127, 255)
_STEP = 7  # grey levels from one number to the next

EXAM = "20190909T155747"
POSITIVE = f"{EXAM}I1"
NEGATIVE = "20190726T095643__B_产科_tmp_0"
LABELLED = (0, 9, 3, 11, 10)
"""In the published order, which is none."""

LANDMARKS = {
    "ps_points": [["69", "198"], ["84", "299"]],
    "hsd_point": ["147", "294"],
    "aop_tangency": ["174", "339"],
    "hsd": 63.198101237299845,
    "aop": 122.41001622248665,
}
"""As published for one frame of IUGC 2024 (CC BY 4.0, doi 10.5281/zenodo.17655183)."""


def picture(number: int, *, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """A frame that carries its number; the right half is texture of its own, so that no two are near-duplicates."""
    image = np.random.default_rng(number).integers(0, 256, (height, width)).astype(np.uint8)
    image[:, : width // 2] = number * _STEP
    return image


def number_in(image: NDArray[np.uint8]) -> int:
    """The number a frame carries."""
    left = image[:, : image.shape[1] // 2]
    assert np.ptp(left) == 0, "the frame is not one of `picture`, or its values were changed"
    assert left[0, 0] % _STEP == 0, "its grey level was changed"
    return int(left[0, 0]) // _STEP


def drawn_mask(number: int, *, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """The mask drawn for the frame with this number, coded 0/1/2."""
    mask = np.zeros((height, width), np.uint8)
    mask[2:5, 1 : 2 + number % 25] = 1
    mask[8:20, 2:20] = 2
    return mask


def assert_masks_meet_their_frames(frames: Sequence[LabelledFrame]) -> None:
    """Fails where a mask was drawn for another frame than it comes with."""
    drawn = [frame for frame in frames if frame.mask is not None and frame.mask.any()]
    assert drawn, "no frame has a mask"
    for frame in drawn:
        assert frame.mask is not None
        np.testing.assert_array_equal(frame.mask, drawn_mask(number_in(frame.image)), err_msg=frame.name)


def save_png(path: Path, pixels: NDArray[Any]) -> Path:
    """Writes a PNG, whatever the letters in its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".png", pixels)
    assert done
    path.write_bytes(data.tobytes())
    return path


def save_mask(path: Path, number: int, codes: Sequence[int] = PSFHS_CODES) -> Path:
    return save_png(path, np.array(codes, np.uint8)[drawn_mask(number)])


def save_video(path: Path, numbers: Sequence[int]) -> Path:
    """A lossless grey video (FFV1) of `picture`s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [from_luma(picture(number), "gray") for number in numbers]
    return write_video(path, frames, codec="ffv1", pix_fmt="gray", rate=24)


def save_table(
    path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]], *, encoding: str = "utf-8"
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(columns), *(",".join(f'"{cell}"' for cell in row) for row in rows)]
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode(encoding))
    return path


def iugc2024(root: Path) -> Path:
    """DatasetV3: a positive training video under a doubled name, a negative one with Chinese letters, and sweeps."""
    train, val, test = (root / split for split in ("train", "val", "test"))
    save_video(train / "videos" / f"{POSITIVE}__{POSITIVE}.avi", range(12))
    save_video(train / "videos" / f"{NEGATIVE}.avi", range(5))
    names = (f"{POSITIVE}.avi", f"{NEGATIVE}.avi")
    labelled = ",".join(map(str, LABELLED))
    save_table(
        train / "train_info.csv",
        ("filename", "pos", "frame_count", "labeled_frame_count", "labeled_frame_index"),
        [(names[0], "TRUE", 12, 5, labelled), (names[1], "FALSE", 5, "null", "null")],
        encoding="gb18030",
    )
    save_table(
        train / "cls" / "class_label.csv",
        ("filename", "frame_count", "pos_index", "neg_index"),
        [(names[0], 12, "ALL", "NONE"), (names[1], 5, "NONE", "ALL")],
        encoding="gb18030",
    )
    save_table(
        train / "seg" / "seg_info.csv",
        ("filename", "frame_count", "labeled_frame_count", "labeled_index"),
        [(names[0], 12, 5, labelled)],
    )
    for frame in LABELLED:
        save_mask(train / "seg" / POSITIVE / "mask" / f"{POSITIVE}_{frame}_6.png", frame, TRAIN_CODES)
    save_png(train / "seg" / POSITIVE / "mask_enhance" / f"{POSITIVE}_0_6.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (train / "seg" / "landmark.json").write_text(json.dumps({f"{POSITIVE}_0_6.png": LANDMARKS}))
    _sweep(val, "202012132137152159400I1", mask="202012132137152159400I1_6.png", landmarks="")
    _sweep(test, "test_10_6", mask="test_10_6.png", landmarks=None)
    return root


def _sweep(folder: Path, video: str, *, mask: str, landmarks: str | None) -> None:
    """A video of 8 frames, of which 2 to 6 are standard planes, with a mask of frame 6."""
    save_video(folder / "videos" / f"{video}.avi", range(8))
    positive, negative = "[2, 3, 4, 5, 6]", "[0, 1, 7]"
    save_table(
        folder / f"{folder.name}_info.csv",
        ("filename", "SP_count", "NSP_count", "frame_count", "labeled_frame_index", "SP_index", "NSP_index"),
        [(f"{video}.avi", 5, 3, 8, 6, positive, negative)],
    )
    save_table(
        folder / "cls" / "cls_label.csv",
        ("filename", "frame_count", "pos_index", "neg_index"),
        [(f"{video}.avi", 8, positive, negative)],
    )
    save_table(
        folder / "seg" / "seg_info.csv",
        ("filename", "frame_count", "labeled_frame_count", "labeled_frame_index"),
        [(f"{video}.avi", 8, 1, 6)],
    )
    save_mask(folder / "seg" / mask, 6, TEST_CODES)
    if landmarks is not None:
        (folder / "seg" / "landmark.json").write_text(landmarks)


def starter_kit(root: Path) -> Path:
    """The starting kit: two videos of one examination, and a negative one."""
    for video, frames in ((POSITIVE, (0, 9, 3)), (f"{EXAM}I5", (1,))):
        save_video(root / "pos" / video / f"{video}.avi", range(10))
        for frame in frames:
            save_mask(root / "pos" / video / "mask" / f"{video}_{frame}_6.png", frame, TRAIN_CODES)
            save_png(root / "pos" / video / "mask_enhance" / f"{video}_{frame}_6.png", np.zeros((4, 4, 3), np.uint8))
    save_video(root / "neg" / "20190726T095643_0.avi", range(4))
    return root


def planar_pixels(number: int) -> NDArray[np.uint8]:
    """Colour in planes, stored as "DimSize W H 3"."""
    return np.stack([picture(number)] * 3)


def vector_pixels(number: int) -> NDArray[np.uint8]:
    """Colour by pixel, for ElementNumberOfChannels = 3."""
    return np.stack([picture(number)] * 3, axis=-1)


def mha_pairs(root: Path) -> Path:
    """PSFHS: the three ways in which an image may be stored."""
    for folder in ("image_mha", "label_mha"):
        (root / folder).mkdir(parents=True)
    write_metaimage(root / "image_mha" / "00001.mha", planar_pixels(1))
    fields = {"ElementNumberOfChannels": "3", "NDims": "2"}
    write_metaimage(root / "image_mha" / "00002.mha", vector_pixels(2), sizes=(WIDTH, HEIGHT), fields=fields)
    write_metaimage(root / "image_mha" / "00010.mha", picture(10), compressed=True)
    for number in (1, 2, 10):
        write_metaimage(root / "label_mha" / f"{number:05}.mha", drawn_mask(number))
    return root


JNU_LABELS: Mapping[str, Mapping[int, int]] = {
    f"{EXAM}I1": {0: 6, 2: 5, 10: 3},
    "20200101T000000": {1: 4, 7: 3},
}
"""What each frame of the JNU-IFM miniature shows, by video; frame 7, which shows nothing, has no mask file."""


def jnu_ifm(root: Path) -> Path:
    """JNU-IFM with a table in every video's folder."""
    _jnu_pictures(root)
    for video, labels in JNU_LABELS.items():
        save_table(root / "us_data" / video / "frame_label.csv", ("frame_id", "frame_label"), list(labels.items()))
    return root


def jnu_ifm_one_table(root: Path) -> Path:
    """JNU-IFM with one table at the root."""
    _jnu_pictures(root)
    rows = [(video, frame, label) for video, labels in JNU_LABELS.items() for frame, label in labels.items()]
    save_table(root / "frame_label.csv", ("video_name", "frame_id", "frame_label"), rows)
    return root


def _jnu_pictures(root: Path) -> None:
    for video, labels in JNU_LABELS.items():
        for frame, label in labels.items():
            folder, name = root / "us_data" / video, f"{video}_{frame}"
            save_png(folder / "image" / f"{name}.png", picture(frame))
            if label == 3 and frame != 7:
                save_png(folder / "mask" / f"{name}_mask.png", np.zeros((HEIGHT, WIDTH), np.uint8))
            elif label != 3:
                save_mask(folder / "mask" / f"{name}_mask.png", frame, TRAIN_CODES)


def split_folder(root: Path) -> Path:
    """A plain folder with splits, masks and a manifest."""
    for split, numbers in (("train", (1, 2, 10)), ("val", (4,))):
        for number in numbers:
            save_png(root / split / "images" / f"{number:05}.png", picture(number))
            save_mask(root / split / "masks" / f"{number:05}.png", number)
    save_table(
        root / "manifest.csv",
        ("id", "split", "device_look", "neardup_group", "exact_dup_of"),
        [
            ("00001", "train", "A", "00001", ""),
            ("00002", "train", "A", "00001", "00001"),
            ("00004", "val", "B", "", ""),
        ],
    )
    return root


PLANE_LABELS = {"frame_1": "sp_head", "frame_2": "only_head", "frame_10": "none"}


def labelled_folder(root: Path) -> Path:
    """A plain folder with masks and plane labels."""
    for name in PLANE_LABELS:
        number = int(name.removeprefix("frame_"))
        save_png(root / "images" / f"{name}.png", picture(number))
        save_mask(root / "masks" / f"{name}.png", number)
    save_table(root / "labels.csv", ("name", "label", "width"), [(*row, 1) for row in PLANE_LABELS.items()])
    return root


def loose_pictures(root: Path) -> Path:
    """Pictures without anything."""
    for number in (1, 2, 10):
        save_png(root / f"image{number}.png", picture(number))
    return root


def recordings(root: Path) -> Path:
    """A video with masks for some frames, a stack with a mask for each, and one with nothing."""
    save_video(root / "sweep.avi", range(8))
    for frame in (5, 0):
        save_mask(root / "sweep_masks" / f"sweep2_frame_{frame:03}.png", frame)
    write_metaimage(root / "loop.mha", np.stack([picture(number) for number in range(4)]))
    write_metaimage(root / "loop_masks.mha", np.stack([drawn_mask(number) for number in range(4)]))
    save_video(root / "other.avi", range(3))
    return root


@dataclass(frozen=True, slots=True)
class Miniature:
    """One data set in small.

    Attributes:
        build: writes it into a folder that is not there yet, or empty.
        layout: as which it must be recognised.
        splits: that it must have.
        frames: how many it holds.
        masks: how many of them have a mask, empty ones included.
    """

    build: Callable[[Path], Path]
    layout: str
    splits: tuple[str, ...]
    frames: int
    masks: int

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return self.build(folder)


MINIATURES = {
    "iugc2024": Miniature(iugc2024, "iugc2024", ("train", "val", "test"), 12 + 5 + 8 + 8, 7),
    "starter_kit": Miniature(starter_kit, "iugc2024", (), 24, 4),
    "mha_pairs": Miniature(mha_pairs, "mha_pairs", (), 3, 3),
    "jnu_ifm": Miniature(jnu_ifm, "jnu_ifm", (), 5, 5),
    "jnu_ifm_one_table": Miniature(jnu_ifm_one_table, "jnu_ifm", (), 5, 5),
    "split_folder": Miniature(split_folder, "folder", ("train", "val"), 4, 4),
    "labelled_folder": Miniature(labelled_folder, "folder", (), 3, 3),
    "loose_pictures": Miniature(loose_pictures, "folder", (), 3, 0),
    "recordings": Miniature(recordings, "recordings", (), 15, 6),
}
"""One of every layout, by name."""
