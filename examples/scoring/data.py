#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the breast-cancer data that python3-sklearn ships as CSV: data.py FILE.csv"""
import csv
import sys

from sklearn.datasets import load_breast_cancer

data = load_breast_cancer()
with open(sys.argv[1], "w", newline="") as f:
    out = csv.writer(f)
    out.writerow([*data.feature_names, "benign"])
    for features, target in zip(data.data, data.target):
        out.writerow([*(repr(float(v)) for v in features), int(target)])
