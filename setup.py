"""Puts the shipped models, which lie beside the package in a checkout, into the wheel's package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["fer_keras*"]), "fer_keras.saved_models"],
    package_dir={"fer_keras.saved_models": "saved_models"},
)
