"""``python -m hat_arch``: the ``basicsr`` command for launchers, which start modules (``torchrun -m hat_arch …``)."""

from .cli import command

command()
