"""Scores histories of events with a model directory, in this process and without Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interest_stream.events import event_json, user_of
from interest_stream.updates import Update, decode_update
from stream.contracts.event import Event, Limits
from stream.contracts.faults import BadEvent
from stream.errors import ModelError

if TYPE_CHECKING:
    from models.contract import ModelInfo
    from models.serving.predictor import Predictor
    from stream.offline.rank import History


class Model:
    """Holds a loaded model that ranks interests and next items; made by `Model.load`.

        model = Model.load(demo=True)  # yours: Model.load("models/shop")
        (update,) = model.rank([[{"action": "search", "time": 1764000000000, "query": "tent"}]])
        print(update.interests[0].interest, update.interests[0].probability)

    A model is not safe for threads that call it at the same time.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        demo: bool = False,
        threads: int = 1,
        language_model: str | Path | None = None,
        device: str = "cpu",
        precision: str = "",
    ) -> Model:
        """Returns the model of a directory that `interest-stream train` wrote, or the demo model.

        With `demo` and no path it is the small model of the package, which knows nothing but the
        simulated shop: of other events it would tell confident nonsense, so it has to be asked for.
        `threads` is how many PyTorch may use in this process. The others matter to a directory with
        a large language model only: `language_model` says where that is now, if it was moved since
        the training, and it runs on `device` (cpu or cuda) in `precision` (float32, bfloat16 or
        float16; empty: what is faster here).

        Raises ModelError, which names the file and what to do.
        """
        from models.contract import Hosting
        from models.errors import ModelDirectoryError
        from models.predict import load_predictor

        if (path is None) != demo:
            raise ModelError(
                "name one model: a directory, Model.load('models/shop'), or the one of the "
                "simulated shop, Model.load(demo=True)"
            )
        hosting = Hosting(
            None if language_model is None else Path(language_model), device, precision
        )
        try:
            return cls(load_predictor(None if path is None else Path(path), threads, hosting))
        except ModelDirectoryError as error:
            raise ModelError(str(error)) from None

    @property
    def info(self) -> ModelInfo:
        """Returns the model's name, version, fingerprint, interests, items and titles."""
        return self._predictor.info

    def rank(
        self,
        histories: Iterable[Sequence[Event | Mapping[str, Any]]],
        *,
        interests: int = 5,
        items: int = 5,
        because: int = 3,
    ) -> list[Update]:
        """Returns an update for each history, as a worker would publish after its last event.

        A history is the events of one user, oldest first: `Event` objects or dictionaries. The
        dictionaries need no user_id; those that have one must agree. The numbers are those of
        `interest-stream rank`, which goes the same way.

        Raises BadEvent, which names the event, the field and the fix, before anything is scored;
        ModelError if the model failed on a history.
        """
        from stream.offline.rank import rank_histories, scoring_of

        scoring = scoring_of(self._predictor, interests=interests, items=items, because=because)
        read = [_history(number, events) for number, events in enumerate(histories)]
        updates = []
        for history, answer in rank_histories(read, scoring, int(time.time() * 1000)):
            if isinstance(answer, str):
                raise ModelError(f"histories[{history.line}] cannot be scored: {answer}")
            updates.append(decode_update(answer, f"the answer to histories[{history.line}]"))
        return updates


def _history(number: int, events: Sequence[Event | Mapping[str, Any]]) -> History:
    """Reads a history as `interest-stream rank` reads a line of its file."""
    import orjson

    from stream.offline.rank import parse_history

    user = next((user for user in map(user_of, events) if user), f"history-{number}")
    try:
        texts = b",".join(map(event_json, events))
        line = b'{"user_id":%b,"events":[%b]}' % (orjson.dumps(user), texts)
        return parse_history(line, number, Limits())
    except BadEvent as error:
        raise BadEvent(error.reason, f"histories[{number}]: {error}", error.error) from None
