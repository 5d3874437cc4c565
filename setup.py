from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


class build_py_with_options(build_py):
    """Puts the option files into the package, as hat_arch/options; an editable install reads them where they lie."""

    def run(self):
        super().run()
        for file in () if self.editable_mode else Path("options").rglob("*.yml"):
            target = Path(self.build_lib, "hat_arch", file)
            self.mkpath(str(target.parent))
            self.copy_file(str(file), str(target))


BOOK = ["mkdocs>=1.6,<2", "mkdocs-material>=9.6"]  # make docs; MkDocs 2 has neither plugins nor hooks
WEB = ["starlette>=0.49.1", "uvicorn>=0.30"]  # basicsr serve, basicsr board

setup(
    name="hat-arch",
    cmdclass={"build_py": build_py_with_options},
    version="0.1.0",
    description="HAT (Hybrid Attention Transformer, CVPR 2023) for BasicSR, with the `basicsr` command",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["hat_arch", "hat_arch.*"]),
    package_dir={"": "."},  # said outright, `pip install -e .` is a plain path file and has nothing to warn of
    py_modules=["basicsr_command"],
    package_data={"hat_arch": ["py.typed", "paper/*.yml", "weights/*.yml", "weights/models/*", "web/static/*"]},
    python_requires=">=3.10,<3.15",
    install_requires=[
        "basicsr>=1.4.2,<1.5",
        "torch>=2.6",
        "torchvision>=0.21",
        "numpy>=1.24",
        "opencv-python>=4.8",
        "pyyaml>=6",
        'tomli>=2; python_version < "3.11"',  # option files of neosr
        "lmdb>=1.4",
        "scipy>=1.10,<2",
        "scikit-image>=0.21",  # the photographs of the demo data set
        "pydantic>=2.7",  # option files
        "matplotlib>=3.8",  # curves and comparison pictures
        "packaging>=23",
        "tqdm>=4.66",
        "tabulate>=0.9",  # tables in the terminal, Markdown and LaTeX
        "markdown>=3.5",  # and in HTML
        "filelock>=3.13",
        "pillow>=10.3",
        "safetensors>=0.4.3",
        "requests>=2.28",  # downloads of models; BasicSR needs it too
        "shtab>=1.13",  # basicsr completion
    ],
    extras_require={
        "openvino": ["openvino>=2025.0"],  # engines beside PyTorch
        "onnx": ["onnx>=1.19", "onnxscript>=0.5", "onnxruntime>=1.20"],  # and basicsr export
        "bench": ["spandrel>=0.4.2"],  # the peer that benchmarks run beside HAT
        "web": WEB,
        "docs": BOOK,
        "video": ["av>=14"],  # basicsr upscale of videos
        "heic": ["pillow-heif>=0.18"],
        "paper": ["pyiqa>=0.1.10"],  # LPIPS and DISTS of the tables
        "test": [
            *WEB,
            *BOOK,
            "pytest>=8",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "spandrel>=0.4.2",
            "onnx>=1.19",
            "onnxscript>=0.5",
            "onnxruntime>=1.20",
            "openvino>=2025.0",
            "av>=14",
            "pillow-heif>=0.18",
            "ruff>=0.6",
            "mypy>=1.11",
            "types-PyYAML",
        ],
    },
    entry_points={"console_scripts": ["basicsr = basicsr_command:main"]},
    classifiers=[
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
)
