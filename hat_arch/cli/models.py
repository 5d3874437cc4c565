"""``basicsr models``: what can be named as a model, and where it is."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.errors import UserError

if TYPE_CHECKING:
    from ..weights.named import Model

MIB = 2**20
NOTE = 27
"""Columns of a note: the table has 120 then."""
CHECKSUM = {True: "", False: ", WRONG", None: ", unverified"}
"""What is said of a file's checksum beside its place."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "models",
        help="list the models that can be named; get, add, convert one",
        description="Lists the models that --model, --weights and option files can name: those in the package, and "
        "those that others have published, with where they lie on this machine, and which checksum is wrong.",
    )
    parser.set_defaults(run=list_all, needs_library=False)
    verbs = parser.add_subparsers(metavar="VERB")
    verbs.add_parser("list", help="what basicsr models does").set_defaults(run=list_all)

    info = verbs.add_parser("info", help="what a file of weights holds, and where it comes from")
    info.add_argument("model", metavar="FILE|NAME")
    info.set_defaults(run=tell, needs_library=True)

    get = verbs.add_parser("get", help="download one; goes on where it was stopped, and verifies the checksum")
    get.add_argument("name", metavar="NAME", nargs="+")
    get.add_argument("--mirror", metavar="URL", help="address of a folder to look in first")
    get.set_defaults(run=get_some, after_stop="; the same command goes on from there")

    add = verbs.add_parser("add", help="take downloaded files, recognised by their checksums, into the models")
    add.add_argument("files", type=Path, metavar="FILE", nargs="+")
    add.add_argument("--name", metavar="NAME", help="which of the listed ones it is, if its checksum is not known")
    add.set_defaults(run=add_some)

    convert = verbs.add_parser("convert", help="write weights as .safetensors or .pth")
    convert.add_argument("source", metavar="IN", help="file or name")
    convert.add_argument("target", type=Path, metavar="OUT")
    convert.add_argument("--param_key", metavar="KEY", help="which weights of it; default: params_ema, else params")
    convert.add_argument("--dtype", choices=["fp32", "fp16", "bf16"], help="of the tensors; default: as they are")
    convert.add_argument("--overwrite", action="store_true", help="replace OUT")
    convert.set_defaults(run=convert_one, needs_library=True)


def list_all(args: argparse.Namespace) -> int:
    """Prints a table of the models; returns 1 if a file is not what its checksum says."""
    import textwrap

    from ..utils.files import sha256
    from ..utils.text_tables import aligned
    from ..weights import named

    rows, wrong = [], []
    for model in named.models().values():
        path = model.path()
        fits = model.fits(sha256(path)) if path else None
        if path and fits is False:
            wrong.append(f"{path}: is not {model.name}, or damaged; delete it, and: basicsr models get {model.name}")
        size = path.stat().st_size if path else model.bytes
        places = {named.INSIDE: "package", named.IN_CLONE: "clone"}
        where = places.get(path.parent, "downloaded") + CHECKSUM[fits] if path else "not here"
        row = [model.name, f"x{model.scale}", model.network, f"{size / MIB:.1f}" if size else "", model.licence]
        rows.append([*row, where, textwrap.fill(model.note, NOTE)])
    header = ["name", "scale", "network", "MiB", "licence", "where", "note"]
    print(aligned(header, rows, left={0, 1, 2, 4, 5, 6}))
    print(f"\nbasicsr models get NAME puts one into {named.cache()}")
    for line in wrong:
        print(f"basicsr: {line}", file=sys.stderr)
    return 1 if wrong else 0


def tell(args: argparse.Namespace) -> int:
    """Prints what a file holds."""
    from ..utils.files import from_home
    from ..weights import named, others
    from ..weights.files import WeightsError, choose, read_weights
    from ..weights.load import hyper_parameters

    absent = None if from_home(args.model).is_file() else named.named(args.model)
    if absent and absent.path() is None:
        print(f"{absent.name}: is not on this machine; basicsr models get {absent.name}\n  {_origin(absent)}")
        return 0
    path = named.find(args.model)
    try:
        content = read_weights(path)
        key, state = choose(content)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    model = named.recognise(path)
    print(f"{path}: {path.stat().st_size:,} bytes, {model.name if model else 'of no checksum that is known'}")
    if model:
        print(f"  {_origin(model)}")
    for name, weights in content.items():
        count = sum(tensor.numel() for tensor in weights.values())
        types = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in weights.values()})
        print(f"  {name}: {len(weights)} tensors, {count:,} numbers, {', '.join(types) or 'empty'}")
    try:
        arguments = hyper_parameters(state)
    except WeightsError:
        print(f"{key} is {others.name_of(state) or 'of a network that is not known'}")
        return 0
    print(f"{key} is a HAT:")
    for name, value in arguments.items():
        shown = list(value) if isinstance(value, tuple) else value
        print(f"  {name}: {'none' if shown == '' else shown}")
    return 0


def _origin(model: Model) -> str:
    return f"{model.note}; licence: {model.licence}; source: {model.page or 'hat_arch'}"


def get_some(args: argparse.Namespace) -> int:
    """Downloads models."""
    from ..weights import named
    from ..weights.download import download

    if args.mirror and not args.mirror.startswith(("http://", "https://")):
        raise UserError(f"--mirror {args.mirror}: must begin with https:// or http://")
    for model in [named.get(name) for name in args.name]:
        print(model.path() or download(model, args.mirror))
    return 0


def add_some(args: argparse.Namespace) -> int:
    """Copies files to where models are looked for, under their names."""
    if args.name and len(args.files) > 1:
        raise UserError(f"--name {args.name}: is of one file; {len(args.files)} are named")
    for file in args.files:
        print(_add(file, args.name))
    return 0


def _add(file: Path, name: str | None) -> Path:
    """Copies a file to where models are looked for, and returns its new place."""
    import shutil

    from ..utils.files import replacing
    from ..weights import content, named

    if not file.is_file():
        raise UserError(f"{file}: no such file")
    if problem := content.problem(file):
        raise UserError(f"{file}: {problem}")
    known = named.recognise(file)
    if known is None and name is None:
        raise UserError(f"{file}: its checksum is of no model that is known; say which it is: --name NAME")
    if known is None and named.named(str(name)) is None:
        own = f"a model of your own is named by its file: --model {file}"
        raise UserError(f"{file}: --name {name} is none of those that basicsr models lists; {own}")
    model = known or named.get(str(name))
    if name and (model is not named.get(name) or model.fits(named.sha256(file)) is False):
        raise UserError(f"{file}: is {known.name if known else f'not {name}: its checksum is another'}")
    if model.inside:
        raise UserError(f"{model.name}: came with the package")
    target = named.cache() / model.file
    with file.open("rb") as source, replacing(target) as copy:
        shutil.copyfileobj(source, copy)
    return target


def convert_one(args: argparse.Namespace) -> int:
    """Writes the weights of a file in another format."""
    import io

    import safetensors.torch
    import torch

    from ..utils.files import write_file
    from ..weights import named
    from ..weights.files import WeightsError, choose, read_weights

    source, suffix = named.find(args.source), args.target.suffix.lower()
    if suffix not in (".safetensors", ".pth", ".pt", ".ckpt"):
        raise UserError(f"{args.target}: is to end in .safetensors or .pth")
    if args.target.exists() and not args.overwrite:
        raise UserError(f"{args.target}: exists; --overwrite replaces it")
    try:
        key, state = choose(read_weights(source), args.param_key)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, None: None}[args.dtype]
    for name, tensor in state.items():
        state[name] = (tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor).contiguous()
        if not torch.isfinite(state[name]).all() and torch.isfinite(tensor).all():
            raise UserError(f"{source}: {name} does not fit {args.dtype}; take bf16")
    if suffix == ".safetensors":
        data = safetensors.torch.save({name: tensor.clone() for name, tensor in state.items()})
    else:
        buffer = io.BytesIO()
        torch.save({"params_ema" if key == "params_ema" else "params": state}, buffer)
        data = buffer.getvalue()
    write_file(args.target, data)
    print(f"{args.target}: {key} of {source}, {len(state)} tensors, {len(data):,} bytes")
    return 0
