"""Prints what Feast's client reads of customer 1, or the exception that it raises: `reading.py REPOSITORY`."""

import json
import sys
import warnings

from feast import FeatureStore

warnings.simplefilter("ignore")

if __name__ == "__main__":
    try:
        print(json.dumps(FeatureStore(sys.argv[1]).get_online_features(["spending:amount"], {"customer_id": [1]}).to_dict()))
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error)]))
