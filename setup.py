"""Puts what lies beside the package in a checkout, experiments and models, into the wheel's
package."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["fer_keras*"]),
        "fer_keras.experiments",
        "fer_keras.saved_models",
    ],
    package_dir={"fer_keras.experiments": "experiments", "fer_keras.saved_models": "saved_models"},
)
