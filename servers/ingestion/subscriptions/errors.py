"""What can be wrong with a subscription, its Kafka, or a message."""

from __future__ import annotations

from collections.abc import Sequence

from servers.runtime.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)


class SubscriptionNotFound(NotFound):
    """The project has no such subscription."""

    reason = "SUBSCRIPTION_NOT_FOUND"

    def __init__(self, project: str, name: str) -> None:
        super().__init__(
            f"there is no subscription {name!r} in project {project!r}; ListSubscriptions lists those that there are",
            metadata={"project": project, "name": name},
            resource=("mlops.ingestion.v1.Subscription", f"{project}/{name}"),
        )


class SubscriptionExists(AlreadyExists):
    """The project has a subscription of this name."""

    reason = "SUBSCRIPTION_EXISTS"

    def __init__(self, project: str, name: str) -> None:
        super().__init__(
            f"project {project!r} has a subscription {name!r}; choose another name, or delete that one first",
            metadata={"project": project, "name": name},
            resource=("mlops.ingestion.v1.Subscription", f"{project}/{name}"),
        )


class ConsumerGroupTaken(AlreadyExists):
    """Another subscription reads with the consumer group."""

    reason = "CONSUMER_GROUP_TAKEN"

    def __init__(self, cluster: str, group: str) -> None:
        super().__init__(
            f"another subscription reads from {cluster!r} with the consumer group {group!r}, so each would get a part of the messages; "
            "choose another group, or leave it out",
            metadata={"cluster": cluster, "group": group},
        )


class InvalidConsumerGroup(InvalidArgument):
    """A consumer group has a name that nobody can read."""

    reason = "CONSUMER_GROUP_INVALID"

    def __init__(self) -> None:
        text = "the name of a consumer group has 1 to 255 printable characters"
        super().__init__(text, field_violations=[("subscription.group", text)])


class InvalidTopics(InvalidArgument):
    """A topic has a name that Kafka gives to none."""

    reason = "TOPIC_INVALID"

    def __init__(self, topic: str) -> None:
        text = f"{topic!r} is the name of no topic; Kafka knows neither `.` nor `..`"
        super().__init__(text, field_violations=[("subscription.topics", text)])


class InvalidPayload(InvalidArgument):
    """What is said of messages contradicts itself, or cannot be understood."""

    reason = "PAYLOAD_INVALID"

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text, field_violations=[(f"subscription.payload.{field}", text)])


class KafkaClusterUnknown(NotFound):
    """The setting `kafka_clusters` has no cluster of this name."""

    reason = "KAFKA_CLUSTER_UNKNOWN"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        there_are = f"there are {', '.join(map(repr, sorted(known)))}" if known else "there is none"
        super().__init__(
            f"the server knows no Kafka {name!r}; {there_are}, and whoever runs the server names more in MLMESH_INGESTION_KAFKA_CLUSTERS",
            metadata={"cluster": name},
        )


class KafkaSettingsInvalid(FailedPrecondition):
    """The client library refuses the properties of a cluster. Says nothing of their values."""

    reason = "KAFKA_SETTINGS_INVALID"

    def __init__(self, cluster: str, properties: Sequence[str]) -> None:
        which = f" ({', '.join(properties)})" if properties else ""
        message = f"the properties of the Kafka {cluster!r} cannot be used{which}; correct them in MLMESH_INGESTION_KAFKA_CLUSTERS"
        super().__init__(message, metadata={"cluster": cluster}, preconditions=[("SETTING", "kafka_clusters", message)])


class KafkaUnavailable(Unavailable):
    """Kafka does not answer, or not as it should."""

    reason = "KAFKA_UNAVAILABLE"

    def __init__(self, cluster: str, detail: str) -> None:
        super().__init__(
            f"the Kafka {cluster!r} does not answer ({detail}); it is tried again", metadata={"cluster": cluster}, retry_after_s=5
        )


class KafkaTopicNotFound(Unavailable):
    """A topic is not there, yet or any more."""

    reason = "KAFKA_TOPIC_NOT_FOUND"

    def __init__(self, cluster: str, topics: Sequence[str]) -> None:
        named = ", ".join(map(repr, topics[:10])) + (", …" if len(topics) > 10 else "")
        super().__init__(
            f"the Kafka {cluster!r} has no topic {named}, or does not show it to us; it is read as soon as it is there",
            metadata={"cluster": cluster, "topics": ",".join(topics)[:1000]},
            retry_after_s=10,
        )


class KafkaAccessDenied(PermissionDenied):
    """Kafka does not let us in, or not to a topic or group."""

    reason = "KAFKA_ACCESS_DENIED"

    def __init__(self, cluster: str, detail: str) -> None:
        super().__init__(
            f"the Kafka {cluster!r} refuses us ({detail}); give the server's account the right to read topic and group, then resume",
            metadata={"cluster": cluster},
        )


class KafkaMessagesLost(FailedPrecondition):
    """Kafka deleted messages before they were read."""

    reason = "KAFKA_MESSAGES_LOST"

    def __init__(self, topic: str, partition: int, offset: int, oldest: int) -> None:
        message = (
            f"Kafka has deleted the messages {offset} to {oldest - 1} of {topic}/{partition} before they were read, so the dataset "
            f"would lack them; resume to go on with message {oldest} all the same"
        )
        metadata = {"topic": topic, "partition": str(partition), "offset": str(offset), "oldest_offset": str(oldest)}
        super().__init__(message, metadata=metadata, preconditions=[("RETENTION", f"{topic}/{partition}", message)])


class KafkaTopicShorter(FailedPrecondition):
    """A partition ends before what was read of it: it was cut, or the topic was made anew."""

    reason = "KAFKA_TOPIC_SHORTER"

    def __init__(self, topic: str, partition: int, offset: int, end: int) -> None:
        message = (
            f"{topic}/{partition} ends at message {end}, and those up to {offset - 1} were read: the topic was made anew or cut, so its "
            "messages cannot be told from those; write them into another dataset"
        )
        metadata = {"topic": topic, "partition": str(partition), "offset": str(offset), "end_offset": str(end)}
        super().__init__(message, metadata=metadata, preconditions=[("TOPIC", f"{topic}/{partition}", message)])


class UnreadableMessage(FailedPrecondition):
    """A message is no row, and the subscription is to stop there."""

    reason = "MESSAGE_UNREADABLE"

    def __init__(self, topic: str, partition: int, offset: int, why: str) -> None:
        message = f"message {topic}/{partition}@{offset} is no row: {why}; everything before it is written"
        metadata = {"topic": topic, "partition": str(partition), "offset": str(offset)}
        super().__init__(message, metadata=metadata, preconditions=[("MESSAGE", f"{topic}/{partition}@{offset}", message)])


class SubscriptionWaiting(ResourceExhausted):
    """As many subscriptions as may run at the same time do."""

    reason = "SUBSCRIPTION_WAITING"

    def __init__(self) -> None:
        super().__init__(
            "it waits for its turn, as many others are being read as may be at the same time; pause one, or raise "
            "MLMESH_INGESTION_CONCURRENT_SUBSCRIPTIONS",
            retry_after_s=10,
        )


class DatasetSubscribed(FailedPrecondition):
    """A subscription writes to the dataset."""

    reason = "DATASET_SUBSCRIBED"

    def __init__(self, dataset: str, subscription: str) -> None:
        message = f"subscription {subscription!r} writes to dataset {dataset!r}; pause or delete it, then delete the dataset"
        super().__init__(
            message,
            metadata={"dataset": dataset, "subscription": subscription},
            preconditions=[("SUBSCRIPTION", subscription, message)],
        )
