"""A real Kafka that speaks nothing but TLS, and asks for user and password."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import Certificates, make_certificates
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from streamer.adapters.kafka import KafkaSink, KafkaSource
from streamer.errors import ConfigError, Unavailable
from streamer.ports import TopicPartition

pytestmark = pytest.mark.kafka

# The jars of a broker: STREAMER_TEST_KAFKA_LIBS, else those of ../shared/kafka.
LIBS = Path(
    os.environ.get("STREAMER_TEST_KAFKA_LIBS")
    or Path(__file__).resolve().parents[3] / "shared" / "kafka" / "libs"
)
PASSWORD = "hunter2"  # noqa: S105  of a server of this test
TRIES = 40
PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{control}
listeners=SASL_SSL://127.0.0.1:{client},CONTROLLER://127.0.0.1:{control}
advertised.listeners=SASL_SSL://127.0.0.1:{client}
listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username="broker" password="secret" user_broker="secret" user_streamer="{password}" user_guest="{password}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:broker;User:streamer;User:ANONYMOUS
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
log.dirs={directory}/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
"""
# Ends the broker when its input ends: when we close it, and also when we are killed.
GUARD = 'java "$@" & cat > /dev/null; kill -9 $!'


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made once."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def bootstrap(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of our own: one that is only named to us cannot be set up."""
    if not LIBS.is_dir() or shutil.which("java") is None:
        pytest.skip("there is no Kafka to start with settings of ours")
    directory = tmp_path_factory.mktemp("secure-kafka")
    keystore = directory / "server.pem"
    keystore.write_text(certificates.server.key.read_text() + certificates.server.certificate.read_text())
    port = random.randrange(10_000, 20_000, 2)  # below the ports the system hands out by itself
    properties = directory / "server.properties"
    names = {"client": port, "control": port + 1, "keystore": keystore, "ca": certificates.ca}
    properties.write_text(PROPERTIES.format(directory=directory, password=PASSWORD, **names))
    java = ["-Xmx384m", "-XX:+UseSerialGC", "-cp", f"{LIBS}/*"]
    form = ["kafka.tools.StorageTool", "format", "-t", "c3RyZWFtZXItdGVzdHMtMQ", "-c", str(properties)]
    subprocess.run(["java", *java, *form], check=True, capture_output=True, timeout=60)
    with (directory / "log").open("wb") as log:
        command = ["bash", "-c", GUARD, "guard", *java, "kafka.Kafka", str(properties)]
        guard = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
        )
    yield f"127.0.0.1:{port}"
    guard.communicate(timeout=30)


def _way_in(certificates: Certificates) -> dict[str, str]:
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.password": PASSWORD,
        "ssl.ca.location": str(certificates.ca),
    }


@pytest.fixture
def config(certificates: Certificates) -> dict[str, str]:
    """What lets us in."""
    return {**_way_in(certificates), "sasl.username": "streamer"}


@pytest.fixture
def guest(certificates: Certificates) -> dict[str, str]:
    """What lets in somebody who may do little."""
    return {**_way_in(certificates), "sasl.username": "guest"}


def test_records_go_through_tls_with_user_and_password(bootstrap: str, config: dict[str, str]) -> None:
    """What the sink sends, the source reads, and positions are committed, all with librdkafka's own settings."""
    _create_topic(bootstrap, config)
    sink = KafkaSink(bootstrap, config=config)
    sink.send("t", b"key", b"value")
    sink.flush(20)
    sink.close()
    source = KafkaSource(bootstrap, ["t"], "group", config=config)
    records = []
    for _ in range(TRIES):
        records += source.poll(10, 0.5)
        if records:
            break
    assert [(record.key, record.value) for record in records] == [(b"key", b"value")]
    # a new broker makes its own topics first
    _until_taken(lambda: source.commit({TopicPartition("t", 0): 1}))
    assert source.committed() == {TopicPartition("t", 0): 1}
    source.close()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sasl.password": "hunter3"}, "check mechanism, user name and password"),
        ({"ssl.ca.location": "other"}, "certificate verify failed.*check ssl.ca.location"),
    ],
)
def test_who_is_not_let_in_gets_a_sentence(
    bootstrap: str, config: dict[str, str], certificates: Certificates, changed: dict[str, str], words: str
) -> None:
    """A wrong password, or a broker that our authority does not know, is a ConfigError without the password in it."""
    merged = {**config, **changed}
    if merged["ssl.ca.location"] == "other":
        merged["ssl.ca.location"] = str(certificates.other_ca)
    _create_topic(bootstrap, config)  # it is up
    source = KafkaSource(bootstrap, ["t"], "group", config=merged, timeout_s=2.0)
    with pytest.raises(ConfigError, match=words) as refused:
        source.end_offsets()
    assert "hunter" not in str(refused.value)
    source.close()


@pytest.fixture(scope="module")
def admin(bootstrap: str, certificates: Certificates) -> AdminClient:
    """Of somebody who may do everything; there are topics that the guest may know, read and write, or nothing."""
    config = {**_way_in(certificates), "sasl.username": "streamer"}
    client = _admin(bootstrap, config)
    for topic in ("none", "known", "free"):
        _create_topic(bootstrap, config, topic)
    for kind, name, rights in (
        (ResourceType.TOPIC, "known", [AclOperation.DESCRIBE]),
        (ResourceType.TOPIC, "free", [AclOperation.READ, AclOperation.WRITE]),
        (ResourceType.GROUP, "known", [AclOperation.DESCRIBE]),
        (ResourceType.GROUP, "free", [AclOperation.READ]),
    ):
        _allow(client, kind, name, rights)
    return client


@pytest.mark.parametrize(
    ("topic", "group", "do", "words"),
    [
        ("none", "free", lambda source, _: source.end_offsets(), "topic 'none'.*opic auth"),
        ("known", "free", lambda source, _: _until_told(source.poll), "reading topic 'known'.*opic auth"),
        ("free", "none", lambda source, _: source.committed(), "group 'none'.*roup auth"),
        (
            "free",
            "known",
            lambda source, _: _until_told(lambda *_: _commit(source)),
            "group 'known'.*roup auth",
        ),
        ("free", "free", lambda _, sink: _send(sink, "known"), "sending to 'known'.*auth"),
    ],
)
def test_who_lacks_a_right_gets_a_sentence(
    bootstrap: str,
    admin: AdminClient,  # made the topics
    guest: dict[str, str],
    topic: str,
    group: str,
    do: Callable[[KafkaSource, KafkaSink], object],
    words: str,
) -> None:
    """No waiting heals a missing right: a ConfigError that names the topic or the group, and ACLs."""
    source = KafkaSource(bootstrap, [topic], group, config=guest)
    sink = KafkaSink(bootstrap, config=guest, timeout_s=10.0)
    with pytest.raises(ConfigError, match=f"{words}.*check the ACLs"):
        do(source, sink)
    source.close()


def test_a_right_that_is_taken_is_waited_for(
    bootstrap: str, admin: AdminClient, guest: dict[str, str]
) -> None:
    """What worked once is the server's to give back: Unavailable, and then it works again."""
    source = KafkaSource(bootstrap, ["free"], "free", config=guest)
    _until_taken(lambda: _commit(source))
    own = AclBindingFilter(
        ResourceType.GROUP,
        "free",
        ResourcePatternType.LITERAL,
        "User:guest",
        None,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    for done in admin.delete_acls([own]).values():
        done.result(timeout=10)
    with pytest.raises(Unavailable, match=r"group 'free'.*roup auth"):
        _until_told(lambda *_: _commit(source))
    _allow(admin, ResourceType.GROUP, "free", [AclOperation.READ])
    _until_taken(lambda: _commit(source))
    source.close()


def _allow(admin: AdminClient, kind: ResourceType, name: str, rights: list[AclOperation]) -> None:
    acls = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, "User:guest", "*", right, AclPermissionType.ALLOW)
        for right in rights
    ]
    for done in admin.create_acls(acls).values():
        done.result(timeout=10)


def _commit(source: KafkaSource) -> None:
    source.commit({TopicPartition("free", 0): 0})


def _send(sink: KafkaSink, topic: str) -> None:
    sink.send(topic, b"k", b"v")
    sink.flush(20)


def _until_told(action: Callable[[int, float], object]) -> None:
    """Some answers take a while, and a new broker has to make its own topics first."""
    for n_left in reversed(range(TRIES)):
        try:
            action(1, 0.5)
        except Unavailable as exc:
            if "auth" in str(exc) or not n_left:
                raise
            time.sleep(0.1)


def _until_taken(action: Callable[[], None]) -> None:
    for n_left in reversed(range(TRIES)):
        try:
            return action()
        except Unavailable:
            if not n_left:
                raise
            time.sleep(0.1)
    return None


def _admin(bootstrap: str, config: dict[str, str]) -> AdminClient:
    return AdminClient(
        {"bootstrap.servers": bootstrap, "reconnect.backoff.max.ms": 200, **config}, logger=_Quiet()
    )


def _create_topic(bootstrap: str, config: dict[str, str], topic: str = "t") -> None:
    """Make the topic, as soon as the broker is up."""
    admin = _admin(bootstrap, config)
    for n_left in reversed(range(TRIES)):
        try:
            admin.create_topics([NewTopic(topic, 1, 1)], request_timeout=2)[topic].result(timeout=5)
        except KafkaException as exc:
            if exc.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return
            if not n_left:
                raise


class _Quiet:
    def log(self, *_line: object) -> None:
        """librdkafka tells of every try."""
