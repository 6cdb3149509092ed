"""Whatever form a set has, the same artifact comes out; what is broken or odd is one clear line, or skipped and counted."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
import tarfile
import zlib
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZipFile, ZipInfo

import numpy as np
import pytest
from PIL import Image

from artifacts.errors import InputError, UsageError
from artifacts.images import Images
from tasks.images.read import ReadParams, read
from tasks.images.source import find_source
from tests.tasks.images.small_sets import CLASSES, encoded, files, folder, images, npz, zipped


def read_from(path: Path | str, **params) -> Images:
    return read(find_source(str(path), Path(path), Path("/nowhere")).open(), ReadParams(**params))


def same(a: Images, b: Images) -> bool:
    return a.classes == b.classes and all(
        np.array_equal(a.parts[p].images, b.parts[p].images) and np.array_equal(a.parts[p].labels, b.parts[p].labels)
        for p in a.parts
    )


def sorted_by_class(found: Images) -> np.ndarray:
    return found.train.images[np.argsort(found.train.labels, kind="stable")]


def test_a_tree_a_zip_and_an_npz_of_the_same_images_are_the_same(tmp_path):
    tree, packed = read_from(folder(tmp_path / "tree")), read_from(zipped(tmp_path / "set.zip"))
    arrays = read_from(npz(tmp_path / "set.npz", 30, 12))
    assert same(tree, packed)
    assert tree.classes == arrays.classes == CLASSES
    assert np.array_equal(sorted_by_class(tree), sorted_by_class(arrays))
    assert tree.train.images.shape == (30, 3, 16, 16)
    pixels, labels = images(30)
    assert np.array_equal(arrays.train.images, pixels.transpose(0, 3, 1, 2))
    assert np.array_equal(arrays.train.labels, labels)


@pytest.mark.parametrize("layout", ["hdf5", "zarr"])
def test_both_layouts_read_back_equal(tmp_path, layout):
    found = read_from(npz(tmp_path / "set.npz"), layout=layout, validation=0.1)
    (tmp_path / "artifact").mkdir()
    found.write(tmp_path / "artifact")
    back = Images.read(tmp_path / "artifact")
    assert same(found, back)
    assert (back.origin, back.layout) == ("npz", layout)


def test_a_set_is_known_by_its_content_not_its_place(tmp_path):
    digests = {find_source("", folder(tmp_path / name), tmp_path).digest for name in ("here", "there")}
    assert len(digests) == 1
    (tmp_path / "there" / "train" / "down" / ".DS_Store").write_bytes(b"x")  # is not read, so it changes nothing
    assert {find_source("", tmp_path / "there", tmp_path).digest} == digests
    changed = files() | {"train/down/999.png": encoded(images(3)[0][2])}
    assert find_source("", folder(tmp_path / "changed", changed), tmp_path).digest not in digests


def test_a_tree_may_lie_deeper_and_beside_other_things(tmp_path):
    given = {f"set/v1/{name}": body for name, body in files().items()} | {"set/v1/readme.txt": b"x", "set/.DS_Store": b"x"}
    found = read_from(folder(tmp_path / "deep", given))
    assert same(found, read_from(folder(tmp_path / "plain")))
    assert found.notes == {"files that are no images": 1}


def test_without_a_test_folder_some_are_held_out(tmp_path):
    given = {name.removeprefix("train/"): body for name, body in files().items() if name.startswith("train")}
    found = read_from(folder(tmp_path / "flat", given), test_share=0.3)
    assert found.counts() == {"train": [7, 7, 7], "validation": [0, 0, 0], "test": [3, 3, 3]}


def test_classes_are_chosen_in_the_order_asked_and_labelled_anew(tmp_path):
    found = read_from(npz(tmp_path / "set.npz"), classes="down,across")
    assert found.classes == ("down", "across")
    with pytest.raises(ValueError, match="names no class"):
        ReadParams(classes=",")
    assert found.counts()["train"] == [30, 30]
    whole = read_from(npz(tmp_path / "set.npz"))
    assert np.array_equal(found.train.images[found.train.labels == 0], whole.train.images[whole.train.labels == 2])


def test_fractions_and_validation_take_the_same_share_of_each_class(tmp_path):
    data = npz(tmp_path / "set.npz", 300, 60)
    found = read_from(data, fraction=0.5, validation=0.2)
    assert found.counts() == {"train": [40] * 3, "validation": [10] * 3, "test": [10] * 3}
    rows = [{i.tobytes() for i in p.images} for p in (found.train, found.validation)]
    assert not rows[0] & rows[1]
    assert same(found, read_from(data, fraction=0.5, validation=0.2))
    assert not same(found, read_from(data, fraction=0.5, validation=0.2, seed=1))


def test_the_nearest_class_is_offered(tmp_path):
    with pytest.raises(UsageError, match="no class 'chekcs': did you mean checks"):
        read_from(npz(tmp_path / "set.npz"), classes="chekcs,down")


# -- odd images -------------------------------------------------------------------------------------------------------------


def odd_tree(tmp_path: Path, image: Image.Image) -> Path:
    path = folder(tmp_path / "tree")
    image.save(path / "train" / "down" / "999.png")
    return path


GREY16 = Image.fromarray(np.full((16, 16), 0x8040, dtype=np.uint16))
ODD_MODES = [Image.new("L", (16, 16), 128), Image.new("RGBA", (16, 16), (128,) * 4), Image.new("P", (16, 16)), GREY16]


@pytest.mark.parametrize("image", ODD_MODES, ids=lambda i: i.mode)
def test_another_mode_is_converted_left_out_or_refused(tmp_path, image):
    path = odd_tree(tmp_path, image)
    converted = read_from(path)
    assert len(converted.train) == 31
    assert list(converted.notes.values()) == [1]
    if image.mode != "P":
        assert (converted.train.images[-1] == 128).all()
    assert len(read_from(path, other_mode="skip").train) == 30
    with pytest.raises(InputError, match=r"read\.other_mode=convert"):
        read_from(path, other_mode="refuse")


def test_another_size_is_refused_resized_or_left_out(tmp_path):
    path = odd_tree(tmp_path, Image.new("RGB", (40, 20), (10, 20, 30)))
    with pytest.raises(InputError, match=r"20 x 40, not 16 x 16.*read\.other_size=resize") as refused:
        read_from(path)
    assert refused.value.private == "train/down/999.png"
    resized = read_from(path, other_size="resize")
    assert (resized.notes, resized.changed, resized.left_out) == ({"resized": 1}, {"resized": 1}, {})
    assert resized.summary()["changed"] == 1
    assert "left out" not in resized.summary()
    assert "1 changed" in resized.preview({}).headline
    assert (resized.train.images[-1] == np.array([10, 20, 30])[:, None, None]).all()
    assert len(read_from(path, other_size="skip").train) == 30
    assert read_from(path, size=24).shape == (3, 24, 24)
    with pytest.raises(InputError, match="16 x 16, not 24 x 24"):
        read_from(path, size=24, other_size="refuse")


def test_a_photo_is_read_as_it_was_held(tmp_path):
    photo, turned, stream = Image.new("RGB", (16, 16), (255, 0, 0)), Image.Exif(), io.BytesIO()
    photo.paste((0, 0, 255), (0, 8, 16, 16))  # blue below, as the camera lay
    turned[274] = 6
    photo.save(stream, "JPEG", exif=turned, quality=100, subsampling=0)
    found = read_from(folder(tmp_path / "tree", files() | {"train/down/999.jpg": stream.getvalue()}))
    assert found.train.images[-1][2].mean(axis=0).argmax() < 8  # blue on the left
    assert found.train.images[-1][0].mean(axis=0).argmax() >= 8


def test_an_image_of_too_many_pixels_is_left_out_without_a_warning(tmp_path, recwarn):
    stream = io.BytesIO()
    Image.new("1", (12000, 8000)).save(stream, "PNG")
    found = read_from(folder(tmp_path / "tree", files() | {"train/down/999.png": stream.getvalue()}))
    assert found.notes == {"too many pixels": 1}
    assert not [w for w in recwarn if "bomb" in str(w.message)]


GREY, RGBA = np.full((9, 8, 8), 7, np.uint8), np.full((9, 8, 8, 4), 9, np.uint8)
DEEP = np.full((9, 8, 8, 3), 0x0500, np.uint16)


@pytest.mark.parametrize(("array", "value"), [(GREY, 7), (RGBA, 9), (DEEP, 5)], ids=["grey", "RGBA", "16-bit"])
def test_arrays_of_another_mode_follow_the_same_rules(tmp_path, array, value):
    labels = np.arange(9) % 3
    path = npz(tmp_path / "set.npz", train_images=array, train_labels=labels, test_images=array, test_labels=labels)
    found = read_from(path)
    assert found.train.images.shape == (9, 3, 8, 8)
    assert (found.train.images == value).all()
    assert sum(found.notes.values()) == 18
    with pytest.raises(InputError, match="other_mode"):
        read_from(path, other_mode="refuse")


def png16(side: int = 16, level: int = 0x8040) -> bytes:
    """A colour PNG of 16 bits a channel, which Pillow reads and does not write."""
    rows = (b"\0" + np.full((side, 3), level, ">u2").tobytes()) * side
    chunks = (b"IHDR", struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    body = (struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def test_a_colour_image_of_16_bits_is_another_mode(tmp_path):
    path = folder(tmp_path / "tree", files() | {"train/down/999.png": png16()})
    found = read_from(path)
    assert found.notes == {"converted from 16-bit colour": 1}
    assert (found.train.images[-1] == 0x80).all()
    with pytest.raises(InputError, match="16-bit colour"):
        read_from(path, other_mode="refuse")


def test_damaged_images_are_skipped_and_counted(tmp_path):
    given = files(kind="JPEG")
    names = [n for n in given if n.startswith("train/down")]
    given |= {names[0]: given[names[0]][:200], names[1]: b"", names[2]: b"GIF89a nonsense"}
    found = read_from(folder(tmp_path / "tree", given))
    assert found.counts()["train"] == [10, 10, 7]
    assert found.notes == {"damaged or no image": 3}
    assert found.summary()["left out"] == 3
    assert "3 left out" in found.preview({}).headline


def test_a_wrong_checksum_inside_a_zip_costs_that_image(tmp_path):
    path = zipped(tmp_path / "set.zip")
    body = bytearray(path.read_bytes())
    first = body.index(b"\x89PNG")
    body[first + 100] ^= 0xFF
    path.write_bytes(body)
    found = read_from(path)
    assert found.notes == {"damaged in the zip (wrong checksum)": 1}


@pytest.mark.parametrize("method", [ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA])
def test_a_damaged_entry_costs_that_image_however_it_was_packed(tmp_path, method):
    path = tmp_path / "set.zip"
    with ZipFile(path, "w", method) as archive:
        for name, body in files().items():
            archive.writestr(name, body)
        third = archive.infolist()[2]
    body = bytearray(path.read_bytes())
    middle = third.header_offset + 30 + len(third.filename) + third.compress_size // 2
    body[middle : middle + 40] = b"\xff" * 40
    path.write_bytes(body)
    assert read_from(path).notes == {"damaged in the zip (wrong checksum)": 1}


def test_a_zip_may_hold_empty_folders_and_backslashes(tmp_path):
    plain = read_from(folder(tmp_path / "tree"))
    with ZipFile(tmp_path / "odd.zip", "w") as archive:
        for name in ("__MACOSX/", ".git/", "validation/", "train/", "train/down/"):
            archive.writestr(name, b"")
        for name, body in files().items():
            entry = ZipInfo("x")
            entry.filename = name.replace("/", "\\")
            archive.writestr(entry, body)
    assert same(read_from(tmp_path / "odd.zip"), plain)
    with ZipFile(tmp_path / "odd.zip", "a") as archive:
        archive.writestr("train/zebra/", b"")
    with pytest.raises(InputError, match="class zebra has no images"):
        read_from(tmp_path / "odd.zip")


# -- broken sources -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["set.zip", "set.npz"])
def test_a_truncated_archive_is_one_clear_line(tmp_path, name):
    whole = (zipped if name.endswith("zip") else npz)(tmp_path / f"whole-{name}")
    cut = tmp_path / name
    cut.write_bytes(whole.read_bytes()[:-300])
    with pytest.raises(InputError, match="damaged"):
        read_from(cut)


def test_what_is_exported_can_be_read_again(tmp_path):
    from tasks.images.export import export_images

    found = read_from(npz(tmp_path / "set.npz", 30, 12))
    back = read_from(export_images(found, tmp_path / "images.h5"))
    assert same(found, back)
    turned = found.train.images  # N x 3 x H x W
    assert same(found, read_from(npz(tmp_path / "turned.npz", 30, 12, train_images=turned)))
    tiny = np.arange(90 * 48, dtype=np.uint32).astype(np.uint8).reshape(90, 3, 4, 4)
    small = read_from(
        npz(tmp_path / "tiny.npz", train_images=tiny.transpose(0, 2, 3, 1), test_images=tiny[:30].transpose(0, 2, 3, 1))
    )
    assert np.array_equal(small.train.images, tiny)
    assert same(small, read_from(export_images(small, tmp_path / "tiny.h5")))


def test_an_hdf5_leads_to_no_other_file(tmp_path):
    import h5py

    pixels, labels = images(9)
    with h5py.File(tmp_path / "secret.h5", "w") as f:
        f["train_images"] = pixels
    (tmp_path / "raw").write_bytes(pixels.tobytes())
    raw = [(str(tmp_path / "raw"), 0, pixels.size)]
    for k, link in enumerate([h5py.ExternalLink("secret.h5", "/train_images"), h5py.SoftLink("/x"), None]):
        with h5py.File(tmp_path / f"{k}.h5", "w") as f:
            f["train_labels"] = labels
            if link:
                f["train_images"] = link
            else:
                f.create_dataset("train_images", pixels.shape, pixels.dtype, external=raw)
        with pytest.raises(InputError, match="no array in the HDF5 itself"):
            read_from(tmp_path / f"{k}.h5")
    (tmp_path / "broken.h5").write_bytes((tmp_path / "0.h5").read_bytes()[:500])
    with pytest.raises(InputError, match="HDF5 is damaged"):
        read_from(tmp_path / "broken.h5")


def test_an_npz_larger_than_any_memory_is_one_clear_line(tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 32, 32, 3)})
    with ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("train_images.npy", head.getvalue())
    with pytest.raises(InputError, match="memory"):
        read_from(tmp_path / "set.npz")


def test_an_npz_never_unpickles(tmp_path):
    np.savez(tmp_path / "set.npz", train_images=np.array([{}], dtype=object), train_labels=np.zeros(1, int))
    with pytest.raises(InputError, match="Python objects"):
        read_from(tmp_path / "set.npz")


@pytest.mark.parametrize("wrong", [3, -1])
def test_a_label_outside_the_range_is_named(tmp_path, wrong):
    labels = images(90)[1]
    labels[7] = wrong
    with pytest.raises(InputError, match=rf"outside the range 0\.\.2, the first is {wrong} \(of image 7\)"):
        read_from(npz(tmp_path / "set.npz", train_labels=labels))


def test_a_label_far_beyond_all_images_is_named_at_once(tmp_path):
    pixels, labels = images(30)
    labels[4] = 300_000_000
    np.savez(tmp_path / "set.npz", train_images=pixels, train_labels=labels)
    with pytest.raises(InputError, match=r"a label is 300000000 \(of training image 4\)"):
        read_from(tmp_path / "set.npz")


@pytest.mark.parametrize("form", [(3072,), (), (0, 0, 3)], ids=str)
def test_arrays_that_are_no_images_are_told_how_they_shall_lie(tmp_path, form):
    array = np.zeros((90, *form), np.uint8)
    with pytest.raises(InputError, match=r"train_images are N x H x W x 3 .* not 90"):
        read_from(npz(tmp_path / "set.npz", train_images=array))


def test_class_names_are_text_and_each_its_own(tmp_path):
    assert read_from(npz(tmp_path / "bytes.npz", class_names=np.array([b"ant", b"bee", b"cow"]))).classes == ("ant", "bee", "cow")
    with pytest.raises(InputError, match="names ant twice"):
        read_from(npz(tmp_path / "twice.npz", class_names=np.array(["ant", "ant", "cow"])))
    np.savez(tmp_path / "half.npz", train_images=images(9)[0], train_labels=images(9)[1], test_labels=images(9)[1])
    with pytest.raises(InputError, match="test_labels and no test_images"):
        read_from(tmp_path / "half.npz")


def test_what_is_not_read_is_counted(tmp_path):
    tree = folder(tmp_path / "tree")
    folder(tree, {"train/down/more/0.png": encoded(images(1)[0][0])})
    (tree / "train" / "down" / "link.png").symlink_to(tree / "train" / "down" / "002.png")
    found = read_from(tree)
    assert len(found.train) == 30
    assert found.notes == {"images outside of train/<class> and test/<class>": 1, "links (not followed)": 1}
    links = tmp_path / "links"
    (links / "train" / "down").mkdir(parents=True)
    (links / "train" / "down" / "0.png").symlink_to(tree / "train" / "down" / "002.png")
    with pytest.raises(InputError, match="1 links are not followed"):
        read_from(links)
    folder(links, {"train/up/0.png": encoded(images(1)[0][0])})
    with pytest.raises(InputError, match=r"class down has no images: .*; 1 links are not followed"):
        read_from(links)


def test_a_class_with_no_images_is_named(tmp_path):
    tree = folder(tmp_path / "tree")
    (tree / "train" / "zebra").mkdir()
    with pytest.raises(InputError, match="class zebra has no images"):
        read_from(tree)
    for junk in (".DS_Store", "readme.txt"):
        (tree / "train" / "zebra" / junk).write_bytes(b"x")
        with pytest.raises(InputError, match="class zebra has no images"):
            read_from(tree)
    labels = np.arange(90) % 2
    with pytest.raises(InputError, match="no train images of the class down"):
        read_from(npz(tmp_path / "set.npz", train_labels=labels))
    damaged = {n: (b"" if "down" in n else b) for n, b in files().items()}
    with pytest.raises(InputError, match="no train images are left of the class down"):
        read_from(folder(tmp_path / "damaged", damaged))


def test_a_class_whose_name_is_no_unicode_keeps_a_name_of_its_own(tmp_path):
    odd = os.fsdecode(b"caf\xe9")
    found = read_from(folder(tmp_path / "tree", {n.replace("down", odd): b for n, b in files().items()}))
    assert found.classes == ("across", "caf\\udce9", "checks")
    assert found.counts()["train"] == [10, 10, 10]


def test_more_than_the_memory_holds_is_one_clear_line(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise MemoryError

    monkeypatch.setattr("tasks.images.tree.TreeRecords.load", full)
    with pytest.raises(InputError, match="30 train images of 16 x 16 pixels do not fit into memory"):
        read_from(zipped(tmp_path / "set.zip"))


def test_too_few_classes_or_images_are_said(tmp_path):
    alone = {n: b for n, b in files().items() if "down" in n}
    with pytest.raises(InputError, match="one class alone, down"):
        read_from(folder(tmp_path / "alone", alone))
    flat = {n.removeprefix("train/"): b for n, b in files().items() if n.startswith("train") and "down" not in n}
    with pytest.raises(InputError, match="too few images of the class down to train on some and hold out others"):
        read_from(folder(tmp_path / "few", flat | {"down/1.png": encoded(images(3)[0][2])}))


def test_what_is_nothing_is_told_what_would_be(tmp_path):
    with pytest.raises(InputError, match="there is nothing at the given path"):
        read_from(tmp_path / "missing.zip")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"neither a \.zip"):
        read_from(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="no images in class folders"):
        read_from(folder(tmp_path / "empty", {"a.png": b""}))


# -- the official pickles -------------------------------------------------------------------------------------------------------


@pytest.fixture
def official(tmp_path, monkeypatch) -> Path:
    """A root with tiny batches in the official form, whose checksums torchvision is told to expect."""
    from torchvision.datasets import CIFAR10

    root = tmp_path / "root"
    batches = root / "cifar-10-batches-py"
    batches.mkdir(parents=True)
    sums = {}
    for k, name in enumerate(["data_batch_1", "test_batch"]):
        labels = list(range(10)) * 2
        body = pickle.dumps({"data": np.full((20, 3072), k + 1, np.uint8), "labels": labels})
        (batches / name).write_bytes(body)
        sums[name] = hashlib.md5(body).hexdigest()
    meta = pickle.dumps({"label_names": [f"class {k}" for k in range(10)]})
    (batches / "batches.meta").write_bytes(meta)
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    about = {"filename": "batches.meta", "key": "label_names", "md5": hashlib.md5(meta).hexdigest()}
    monkeypatch.setattr(CIFAR10, "meta", about)
    return root


def test_a_torchvision_root_its_folder_and_its_archive_are_the_same(official, tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(official / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    found = [read_from(p) for p in (official, official / "cifar-10-batches-py", archive)]
    assert same(found[0], found[1])
    assert same(found[0], found[2])
    assert found[0].counts()["train"] == [2] * 10
    assert found[0].origin == "torchvision CIFAR10"
    assert find_source("", official, tmp_path).digest == find_source("", archive, tmp_path).digest


def test_wrong_checksums_are_refused_before_anything_is_unpickled(official, tmp_path):
    (official / "cifar-10-batches-py" / "test_batch").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InputError, match="wrong checksum"):
        read_from(official)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"half an archive")
    with pytest.raises(InputError, match=r"checksum \(MD5\) .* not c58f30108f718f92721af3b95e74349a"):
        read_from(tmp_path / "cifar-10-python.tar.gz")


def test_without_a_network_it_says_where_to_put_the_file(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    def no_network(*_args, **_kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(CIFAR10, "download", no_network)
    with pytest.raises(InputError, match=r"cifar-10-python\.tar\.gz could not be downloaded.*put it into \$HOUNSFIELD_HOME/data"):
        read(find_source("cifar10", tmp_path / "cifar10", tmp_path / "data").open())


def test_the_synthetic_set_is_the_same_every_time_and_says_what_it_is():
    from tasks.images.synthetic import drawn

    found, again = drawn(50, 1), drawn(50, 1)
    assert np.array_equal(found[0], again[0])
    assert (np.bincount(found[1]) == 5).all()
    source = find_source("synthetic", Path("synthetic"), Path("/nowhere"))
    assert "synthetic" in source.open().origin


@pytest.mark.data
def test_the_jpeg_set_is_read_whole(data_dir):
    found = read_from(data_dir / "cifar10" / "jpeg-60000.zip", fraction=0.02)
    assert found.counts() == {"train": [100] * 10, "validation": [0] * 10, "test": [20] * 10}
    assert found.classes[:3] == ("airplane", "automobile", "bird")
    assert not found.notes
