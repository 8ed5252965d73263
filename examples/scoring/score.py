#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Trains and scores a classifier on the breast-cancer data: score.py DATA.csv RESULT.json. Knows nothing of enclaves."""
import csv
import json
import sys

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main(data, result):
    with open(data, newline="") as f:
        rows = list(csv.reader(f))
    table = np.array(rows[1:], dtype=float)
    x, y = table[:, :-1], table[:, -1]
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.3, random_state=7, stratify=y)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(x_train, y_train)
    auc = roc_auc_score(y_test, model.predict_proba(x_test)[:, 1])
    with open(result, "w") as f:
        json.dump({"records": len(table), "auc": auc}, f)
        f.write("\n")
    print(f"trained on {len(x_train)} records, scored {len(x_test)}: AUC {auc!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
