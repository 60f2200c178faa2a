from __future__ import annotations

import asyncio
import os

from servers.serving.model_process.last_output import LastOutput

WITHIN_S = 60.0


def test_the_end_is_kept_and_the_pipe_is_closed():
    async def scenario() -> None:
        reading, writing = os.pipe()
        output = LastOutput(os.fdopen(reading, "rb", 0), size_bytes=10)
        os.write(writing, b"a long story with \xff\n")
        os.write(writing, b"its end")
        os.close(writing)

        await asyncio.wait_for(output.ended, WITHIN_S)

        assert output.text == "h \ufffd\nits end"[-10:]
        output.close()

    asyncio.run(scenario())


def test_a_pipe_that_somebody_holds_open_can_be_left():
    async def scenario() -> None:
        reading, writing = os.pipe()
        output = LastOutput(os.fdopen(reading, "rb", 0), size_bytes=10)

        output.close()

        assert output.ended.done()
        os.close(writing)

    asyncio.run(scenario())
