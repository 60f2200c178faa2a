"""FastAPI + ONNX Runtime with nothing around it: no token, no limits, no log. Run by uvicorn (uvloop, httptools), one worker.

Body and answer go through orjson, not through a Pydantic model: that is the cheaper way here.
"""

from __future__ import annotations

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response
from onnx_sessions import load_models

app = FastAPI()
models = load_models()


@app.post("/models/{name}/predict")
async def predict(name: str, request: Request) -> Response:
    """Predicts `{"instances": [[…], …]}`. A coroutine: a model this fast would only wait longer for a thread."""
    rows = np.array(orjson.loads(await request.body())["instances"], np.float32)
    predictions = models[name].predict(rows)
    return Response(orjson.dumps({"predictions": predictions}, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
