"""``folder:PATH[,PATH2]``: any tree of NIfTI, NRRD, MetaImage or DICOM series as a corpus.

The modality of a volume is that of its DICOM tag, else what ``corpus.yaml`` in PATH says, else the
nearest folder above it whose name has the word CT, MR, MRI or PET (``UNLABELLED_CT``, ``mr/t2``).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medssl_bench.data.dicom_tags import may_be_image, modality_of
from medssl_bench.data.faulty import FaultySource, closed_cases
from medssl_bench.data.reading import FileSource, find_volumes
from medssl_bench.errors import BenchError, DataError
from medssl_bench.task import Case, Corpus, Intensity, Preprocessing, Triple
from medssl_bench.tasks.intensity import intensity_of
from medssl_bench.tasks.layout import expression, first_group, is_expression, stem
from medssl_bench.tasks.yaml_file import load_yaml

MODALITIES = {"CT": "CT", "MR": "MR", "MRI": "MR", "PET": "PET", "PT": "PET"}
"""Words in folder names, and DICOM's own codes, to modalities."""

SPACING_MM = (1.5, 1.5, 2.0)
"""Paper 004, section 4."""


class CorpusFile(BaseModel):
    """The keys of ``corpus.yaml``; all may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    modality: str | dict[str, str] = Field(default_factory=dict)
    """One for the whole tree, or glob -> modality, the first match counts: ``{"t2/**": MR}``."""
    exclude: tuple[str, ...] = ("**/label*/**",)
    """Globs of what is no scan; label maps in folders such as ``labelsTr`` by default."""
    patient: str | None = None
    """Regular expression on a volume's path within the tree; its first group is the patient."""
    intensity: dict[str, Intensity] = Field(default_factory=dict)
    """Modality -> rule, low, high."""
    spacing: dict[str, Triple | None] = Field(default_factory=dict)
    """Modality -> mm; null keeps each scan's own."""
    licence: str = "unknown"

    _patient_is_expression = field_validator("patient")(is_expression)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: dict[str, Any]) -> dict[str, Any]:
        values = dict(values)
        for key in ("intensity", "spacing"):
            if isinstance(values.get(key), dict):
                values[key] = {_canonical(str(name)): rule for name, rule in values[key].items()}
        if isinstance(values.get("intensity"), dict):
            values["intensity"] = {
                name: intensity_of(name, rule, window="corpus")
                for name, rule in values["intensity"].items()
            }
        for name in values.get("spacing") or {}:
            if name not in values.get("intensity", {}):
                _default_intensity(name)
        return values

    def modality_of(self, path: Path) -> str | None:
        """Return the modality that a path within the tree is said to have."""
        if isinstance(self.modality, str):
            return _canonical(self.modality)
        for pattern, modality in self.modality.items():
            if expression(pattern).fullmatch(path.as_posix()):
                return _canonical(modality)
        return None

    def excludes(self, folder: Path, path: Path) -> bool:
        """Tell whether a volume is left out of the corpus."""
        inside = path.relative_to(folder).as_posix()
        return any(expression(pattern).fullmatch(inside) for pattern in self.exclude)

    def own_preprocessing(self) -> dict[str, Preprocessing]:
        """Return how the modalities are scaled of which the file says anything."""
        return {
            name: Preprocessing(
                spacing=self.spacing.get(name, SPACING_MM),
                intensity=self.intensity.get(name) or _default_intensity(name),
            )
            for name in sorted({*self.spacing, *self.intensity})
        }


class FolderCorpus(Corpus):
    """Volumes in folders; where they lie is no part of what the corpus is."""

    folders: tuple[Path, ...] = Field(exclude=True)
    files: tuple[CorpusFile, ...] = Field(exclude=True, repr=False)

    def cases(self, root: Path | None) -> list[Case]:
        """List one case per volume, with one channel named by its modality.

        A folder with several DICOM series gives a case for each. What may not be read is a faulty
        case, unless ``corpus.yaml`` excludes it.

        Raises:
            DataError: a folder is missing or has no volume, or a modality is not known.
        """
        found: dict[str, Case] = {}
        for folder, file in zip(self.folders, self.files, strict=True):
            prefix = f"{self._title(folder)}/" if len(self.folders) > 1 else ""
            closed: list[Path] = []
            paths = [p for p in find_volumes(folder, closed) if not file.excludes(folder, p)]
            # A pattern such as `labels/**` is of what lies in a folder.
            closed = [
                path
                for path in closed
                if not file.excludes(folder, path) and not file.excludes(folder, path / "any")
            ]
            cases = [case for path in paths for case in _cases(folder, path, file)]
            cases += closed_cases(folder, closed, [*self.preprocessing][:1])
            if not cases:
                raise DataError(f"{self.name}: no volume below {folder}")
            for case in cases:
                modality = next(iter(case.images))
                if modality not in self.preprocessing:
                    raise DataError(
                        f"{self.name}: {case.id} is {modality}; say in {folder / 'corpus.yaml'}"
                        f" how to scale it: intensity: {{{modality}: {{rule: percentile, low: 5,"
                        f" high: 95}}}}"
                    )
                name, images = prefix + case.id, case.images
                if name in found:
                    first = next(iter(found[name].images.values()))
                    message = f"{first} has the name {name!r} too; rename or leave out one of them"
                    fault = FaultySource(Path(str(images[modality])), message)
                    images = dict.fromkeys(images, fault)
                found[name] = Case(name, images, None, case.patient)
        return list(found.values())

    def _title(self, folder: Path) -> str:
        same = [other for other in self.folders if other.name == folder.name]
        return folder.name if len(same) == 1 else f"{folder.parent.name}/{folder.name}"


def read_folders(spec: str = "folder:") -> FolderCorpus:
    """Read ``folder:PATH[,PATH2]``; paths are relative to the working folder.

    Raises:
        BenchError: no path, a folder that is missing, a faulty ``corpus.yaml``, or two folders
            that scale one modality differently.
    """
    folders = tuple(
        Path(part.strip()).expanduser().resolve()
        for part in spec.removeprefix("folder:").split(",")
        if part.strip()
    )
    if not folders:
        raise BenchError(f"corpus {spec!r}: give a folder, as in folder:/data/scans")
    files: list[CorpusFile] = []
    said: dict[str, Path] = {}
    preprocessing = {
        name: Preprocessing(spacing=SPACING_MM, intensity=_default_intensity(name))
        for name in ("CT", "MR")
    }
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"corpus {spec!r}: {folder} is no folder")
        listing = folder / "corpus.yaml"
        file = load_yaml(listing, CorpusFile) if listing.is_file() else CorpusFile()
        files.append(file)
        for name, rule in file.own_preprocessing().items():
            if name in said and preprocessing[name] != rule:
                raise BenchError(
                    f"{said[name]} and {listing} scale {name} differently;"
                    f" a corpus has one spacing and intensity for each modality"
                )
            preprocessing[name], said[name] = rule, listing
    licences = sorted({file.licence for file in files})
    return FolderCorpus(
        name="folder:" + "+".join(folder.name for folder in folders),
        summary=f"volumes below {', '.join(folder.name for folder in folders)}",
        preprocessing=preprocessing,
        licence="; ".join(licences),
        folders=folders,
        files=tuple(files),
    )


def _cases(folder: Path, path: Path, file: CorpusFile) -> list[Case]:
    """Return the case of one file, or one per image series of a DICOM folder."""
    inside = path.relative_to(folder)
    told = file.modality_of(inside) or _modality_of_folders(folder, path)
    name = "/".join((*inside.parts[:-1], stem(inside.name))) if inside.parts else folder.name
    if path.is_dir():
        series = _image_series(path, told)
        return [
            Case(
                name if len(series) == 1 else f"{name}/{uid}",
                {modality: FileSource(path, None if len(series) == 1 else uid)},
                patient=patient if file.patient is None else first_group(file.patient, name),
            )
            for uid, modality, patient in series
        ]
    if told is None:
        raise DataError(
            f"{path}: the modality is not known; put it below a folder named CT or MR, or write"
            f" {folder / 'corpus.yaml'} with `modality: CT` or `modality: {{'{inside}': CT}}`"
        )
    return [Case(name, {told: FileSource(path)}, patient=first_group(file.patient, name))]


def _image_series(folder: Path, told: str | None) -> list[tuple[str, str, str]]:
    """Return (SeriesInstanceUID, modality, PatientID) of each image series in a folder.

    ``told`` is the modality of files whose own tag has none.
    """
    found = []
    for uid in sorted(sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))):
        first = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)[0]
        if may_be_image(Path(first)):
            modality = modality_of(Path(first)) or told or "unknown"
            found.append((uid, _canonical(modality), _tag(first, "0010|0020")))
    return found


def _tag(file: str, key: str) -> str:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return reader.GetMetaData(key).strip() if reader.HasMetaDataKey(key) else ""


def _modality_of_folders(folder: Path, path: Path) -> str | None:
    """Return the modality in the name of the nearest folder, up to the one that was given."""
    nearest = path if path.is_dir() else path.parent
    for part in reversed((folder.name, *nearest.relative_to(folder).parts)):
        words = {*re.split(r"[^A-Z]+", part.upper())}
        named = {modality for word, modality in MODALITIES.items() if word in words}
        if len(named) == 1:
            return named.pop()
    return None


def _canonical(modality: str) -> str:
    return MODALITIES.get(modality.upper(), modality.upper())


def _default_intensity(modality: str) -> Intensity:
    return Intensity.model_validate(intensity_of(modality, None, window="corpus"))
