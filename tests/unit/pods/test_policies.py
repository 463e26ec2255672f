"""From what the API server says to what the runtime is sent, with both as doubles that can fail."""

from __future__ import annotations

import asyncio
import time

import pytest

from quilt_policy.program import PodName
from quilt_policy.selectors import PeerSelector
from tests.support.agent_api import eventually
from tests.support.pods_scene import (
    PEERS,
    PODS,
    POLICIES,
    Scene,
    name,
    peers,
    pod,
    policy,
    selector,
)

WEB, CLIENT = {"app": "web"}, {"app": "client"}
CLIENTS: PeerSelector = selector(app="client")
CLUSTER = "/apis/policy.networking.k8s.io/v1beta1"


async def enforced(scene: Scene, *, clients: tuple[str, ...] = ("10.42.2.2",)) -> None:
    """Start with a web pod that clients may reach, and wait until the runtime has it so."""
    scene.api.put(PODS, pod("web"))
    scene.api.put(POLICIES, policy("to-web", WEB, allows=CLIENT))
    scene.api.put(PEERS, peers(CLIENTS, *clients))
    scene.start(policies=True)
    await eventually(lambda: scene.runtime.sets.get(CLIENTS.set_name) == set(clients))
    await eventually(lambda: not scene.pods.problems)


def isolated(scene: Scene, of: str, namespace: str = "shop") -> bool | None:
    """Whether a pod has a chain for ingress; None for one that is not announced."""
    profile = scene.runtime.pods.get(name(of, namespace))
    return None if profile is None else bool(profile[0])


async def test_everything_is_sent_at_once_when_all_lists_are_there(scene: Scene) -> None:
    scene.api.put(PODS, pod("other"))
    await enforced(scene)
    assert len(scene.runtime.replaced) == 1
    assert not scene.runtime.changed
    assert isolated(scene, "web")
    assert isolated(scene, "other") is False, "announced, so that its ADD does not wait"
    await eventually(lambda: not scene.pods.problems)
    assert scene.gauge("enforced") == 1
    assert (scene.gauge("policies"), scene.gauge("profiles"), scene.gauge("sets")) == (1, 1, 1)
    assert time.time() - scene.gauge("last_change_timestamp_seconds") < 60


async def test_nothing_is_sent_before_the_lists_are_complete(scene: Scene) -> None:
    scene.api.put(PODS, pod("web"))
    scene.api.kinds.discard(POLICIES)
    scene.start(policies=True)
    await eventually(lambda: scene.api.count("GET", "networkpolicies") >= 2)
    assert not scene.runtime.replaced
    assert "not known yet" in scene.pods.problems[0]
    scene.api.kinds.add(POLICIES)
    await eventually(lambda: isolated(scene, "web") is False)
    await eventually(lambda: not scene.pods.problems)


async def test_nothing_is_sent_before_the_runtime_is_configured_to_enforce(scene: Scene) -> None:
    scene.enforcing = False
    scene.api.put(PODS, pod("web"))
    scene.start(policies=True)
    await eventually(lambda: scene.api.count("GET", "networkpolicies"))
    await asyncio.sleep(0.2)
    assert not scene.runtime.replaced
    scene.enforcing = True
    scene.pods.changed()
    await eventually(lambda: isolated(scene, "web") is False)


async def test_pods_of_the_hosts_network_and_of_other_nodes_are_not_announced(scene: Scene) -> None:
    host, elsewhere = pod("host"), pod("elsewhere")
    host["spec"]["hostNetwork"] = True
    elsewhere["spec"]["nodeName"] = "another"
    scene.api.put(PODS, host)
    scene.api.put(PODS, elsewhere)
    await enforced(scene)
    assert set(scene.runtime.pods) == {name("web")}


async def test_events_are_changes_of_what_they_touch(scene: Scene) -> None:
    await enforced(scene)
    scene.api.put(PEERS, peers(CLIENTS, "10.42.2.2", "10.42.3.3"))
    await eventually(lambda: scene.runtime.sets[CLIENTS.set_name] == {"10.42.2.2", "10.42.3.3"})
    scene.api.put(PODS, pod("web", app="nothing"))
    await eventually(lambda: isolated(scene, "web") is False)
    scene.api.put(PODS, pod("web"))
    await eventually(lambda: isolated(scene, "web"))
    scene.api.delete(POLICIES, "shop/to-web")
    await eventually(lambda: isolated(scene, "web") is False)
    assert len(scene.runtime.replaced) == 1
    assert scene.gauge("policies") == 0


async def test_addresses_that_a_backup_brings_back_hold_and_are_followed(scene: Scene) -> None:
    """Its versions are older than what was seen of the peers."""
    await enforced(scene)
    backup = scene.api.save()
    for address in ("10.42.3.3", "10.42.4.4", "10.42.5.5"):
        scene.api.put(PEERS, peers(CLIENTS, address))
        await eventually(lambda at=address: scene.runtime.sets[CLIENTS.set_name] == {at})
    scene.api.restore(backup)
    await eventually(lambda: scene.runtime.sets[CLIENTS.set_name] == {"10.42.2.2"})
    scene.api.put(PEERS, peers(CLIENTS, "10.42.6.6"))
    await eventually(lambda: scene.runtime.sets[CLIENTS.set_name] == {"10.42.6.6"})


async def test_policies_that_change_after_a_backup_was_restored_are_seen(scene: Scene) -> None:
    """Their versions are older than the list of a namespace that got its first pod after the backup."""
    await enforced(scene)
    backup = scene.api.save()
    for number in range(10):
        scene.api.put("/api/v1/others", {"metadata": {"name": f"other-{number}"}})
    late = pod("late", namespace="other")
    scene.api.put(PODS, late)
    await eventually(lambda: isolated(scene, "late", "other") is False)
    scene.api.restore(backup)
    scene.api.put(PODS, late)
    scene.api.put(POLICIES, policy("all", {}, namespace="other"))
    await eventually(lambda: isolated(scene, "late", "other"))
    assert isolated(scene, "web")


async def test_only_needed_peers_are_asked_for_and_a_new_one_without_a_gap_cilium_33778(scene: Scene) -> None:
    other = selector(app="other")
    scene.api.put(PEERS, peers(other, "10.42.9.9"))
    await enforced(scene)
    assert not scene.api.count("GET", other.hash)
    scene.api.put(PEERS, peers(CLIENTS, "10.42.2.2", "10.42.4.4"))
    scene.api.put(POLICIES, policy("more", WEB, allows={"app": "other"}))
    scene.api.put(PEERS, peers(CLIENTS, "10.42.4.4"))
    await eventually(lambda: scene.runtime.sets.get(other.set_name) == {"10.42.9.9"})
    await eventually(lambda: scene.runtime.sets[CLIENTS.set_name] == {"10.42.4.4"})
    scene.api.put(PEERS, peers(other, "10.42.9.8"))
    await eventually(lambda: scene.runtime.sets[other.set_name] == {"10.42.9.8"})
    lists = [url for verb, url in scene.api.requests if "quiltpeers" in url and "watch" not in url]
    assert len(lists) == 2, "each selector is listed once"
    assert CLIENTS.hash not in lists[1]


async def test_a_pod_in_a_new_namespace_gets_the_policies_that_were_passed_over(scene: Scene) -> None:
    scene.api.put(POLICIES, policy("late", WEB, namespace="bank"))
    await enforced(scene)
    assert scene.gauge("policies") == 1
    scene.api.put(PODS, pod("web", "bank"))
    await eventually(lambda: isolated(scene, "web", "bank"))
    assert scene.gauge("policies") == 2
    scene.api.put(POLICIES, policy("late", {"app": "nobody"}, namespace="bank"))
    await eventually(lambda: isolated(scene, "web", "bank") is False)
    scene.api.delete(PODS, "bank/web")
    await eventually(lambda: isolated(scene, "web", "bank") is None)
    assert scene.gauge("policies") == 1


async def test_a_pod_is_not_announced_open_while_its_namespace_is_not_listed(scene: Scene) -> None:
    scene.api.put(POLICIES, policy("late", WEB, namespace="bank"))
    await enforced(scene)
    scene.api.refuse = 503
    scene.api.put(PODS, pod("web", "bank"))
    await eventually(lambda: scene.api.count("GET", "/namespaces/bank/"))
    scene.runtime.wait(name("web", "bank"))
    await asyncio.sleep(0.2)
    assert isolated(scene, "web", "bank") is None
    scene.api.refuse = 0
    await eventually(lambda: isolated(scene, "web", "bank"))


async def test_an_api_server_that_is_away_changes_nothing(scene: Scene) -> None:
    await enforced(scene)
    scene.api.refuse = 503
    scene.api.cut()
    await asyncio.sleep(0.3)
    assert (len(scene.runtime.replaced), scene.runtime.changed) == (1, [])
    scene.api.put(PEERS, peers(CLIENTS, "10.42.7.7"))
    scene.api.refuse = 0
    await eventually(lambda: scene.runtime.sets[CLIENTS.set_name] == {"10.42.7.7"})


async def test_a_history_that_is_lost_is_listed_again(scene: Scene) -> None:
    await enforced(scene)
    scene.api.put(POLICIES, policy("more", {"app": "other"}))
    scene.api.put(PODS, pod("other"))
    await eventually(lambda: isolated(scene, "other"))
    scene.api.expire()
    del scene.api.objects[POLICIES]["shop/more"]
    scene.api.cut()
    await eventually(lambda: isolated(scene, "other") is False)
    assert isolated(scene, "web")


async def test_a_set_that_is_deleted_stays_until_there_is_another(scene: Scene) -> None:
    await enforced(scene)
    scene.api.delete(PEERS, f"{CLIENTS.hash}-0")
    await asyncio.sleep(0.1)
    assert scene.runtime.sets[CLIENTS.set_name] == {"10.42.2.2"}
    scene.api.put(PEERS, peers(CLIENTS))
    await eventually(lambda: scene.runtime.sets[CLIENTS.set_name] == set())


async def test_a_set_changes_when_all_its_slices_agree(scene: Scene) -> None:
    await enforced(scene)
    scene.api.put(PEERS, peers(CLIENTS, "10.42.3.3", slices=2, number=1))
    await asyncio.sleep(0.1)
    assert scene.runtime.sets[CLIENTS.set_name] == {"10.42.2.2"}
    scene.api.put(PEERS, peers(CLIENTS, "10.42.2.2", slices=2))
    await eventually(lambda: scene.runtime.sets[CLIENTS.set_name] == {"10.42.2.2", "10.42.3.3"})


async def test_a_runtime_that_forgot_or_restarted_is_sent_everything(scene: Scene) -> None:
    await enforced(scene)
    scene.runtime.forgot = True
    scene.api.put(PODS, pod("other"))
    await eventually(lambda: len(scene.runtime.replaced) == 2)
    assert isolated(scene, "other") is False
    scene.pods.restored()
    await eventually(lambda: len(scene.runtime.replaced) == 3)
    await eventually(lambda: not scene.pods.problems)


async def test_a_runtime_that_refuses_is_a_problem_and_is_asked_again(scene: Scene) -> None:
    await enforced(scene)
    scene.runtime.refuse = "No such file or directory"
    scene.api.put(PODS, pod("other"))
    await eventually(lambda: scene.pods.problems)
    assert "No such file or directory" in scene.pods.problems[0]
    assert scene.gauge("enforced") == 0
    assert scene.reports
    scene.runtime.refuse = ""
    await eventually(lambda: isolated(scene, "other") is False)
    await eventually(lambda: not scene.pods.problems)
    assert len(scene.runtime.replaced) == 2


async def test_a_runtime_that_is_away_is_sent_everything_when_it_is_back(scene: Scene) -> None:
    await enforced(scene)
    await scene.runtime.stop()
    scene.api.put(PODS, pod("other"))
    await eventually(lambda: scene.pods.problems)
    await scene.runtime.start()
    await eventually(lambda: isolated(scene, "other") is False)
    assert len(scene.runtime.replaced) == 2


async def test_a_waiting_pod_that_no_watch_shows_is_looked_for_cilium_35993(scene: Scene) -> None:
    await enforced(scene)
    scene.api.freeze()
    scene.api.put(PODS, pod("late"))
    scene.runtime.wait(name("late"))
    await eventually(lambda: scene.gauge("waiting_pods") == 1)
    await eventually(lambda: isolated(scene, "late") is False)
    await eventually(lambda: scene.gauge("waiting_pods") == 0)


async def test_another_pod_of_the_name_is_not_the_one_that_waits(scene: Scene) -> None:
    await enforced(scene)
    scene.api.freeze()
    scene.api.put(PODS, pod("late"))
    scene.runtime.wait(name("late", uid="earlier"))
    await eventually(lambda: scene.api.count("GET", "metadata.name%3Dlate") >= 2)
    assert isolated(scene, "late") is None


async def test_a_static_pod_is_known_by_the_kubelets_uid(scene: Scene) -> None:
    static = pod("static")
    static["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "0123abcd"}
    scene.api.put(PODS, static)
    scene.runtime.connect(name("static", uid="0123abcd"), "10.42.1.7")
    await enforced(scene)
    assert name("static", uid="0123abcd") in scene.runtime.pods
    await eventually(lambda: scene.published() == {"static": "10.42.1.7"})
    await eventually(lambda: scene.published_uids() == {"uid-static"})


async def test_a_pod_that_an_earlier_release_connected_is_published_with_its_uid(scene: Scene) -> None:
    scene.runtime.connect(PodName("shop", "web", ""), "10.42.1.7")
    await enforced(scene)
    await eventually(lambda: scene.published_uids() == {"uid-web"})


async def test_a_pod_that_is_deleted_by_force_is_held_to_policies_until_it_is_gone(scene: Scene) -> None:
    scene.runtime.connect(name("web"), "10.42.1.7")
    await enforced(scene)
    scene.api.delete(PODS, "shop/web")
    scene.api.put(PODS, pod("other"))
    await eventually(lambda: isolated(scene, "other") is False)
    assert isolated(scene, "web")
    scene.runtime.disconnect(name("web"))
    await eventually(lambda: isolated(scene, "web") is None)


async def test_addresses_that_nobody_wrote_yet_are_waited_for(scene: Scene) -> None:
    """A policy that is enforced before its addresses are known would cut what it allows."""
    await enforced(scene)
    scene.api.put(POLICIES, policy("more", WEB, allows={"app": "other"}))
    await asyncio.sleep(0.2)
    assert not scene.runtime.changed
    other = selector(app="other")
    scene.api.put(PEERS, peers(other, "10.42.9.9"))
    await eventually(lambda: scene.runtime.sets.get(other.set_name) == {"10.42.9.9"})
    assert len(scene.runtime.changed) == 1


async def test_addresses_that_nobody_writes_are_not_waited_for_for_ever(scene: Scene) -> None:
    await enforced(scene)
    scene.api.put(POLICIES, policy("more", WEB, allows={"app": "other"}))
    await eventually(lambda: selector(app="other").set_name in scene.runtime.sets)
    began = time.monotonic()
    scene.api.put(PODS, pod("other"))
    await eventually(lambda: isolated(scene, "other") is False)
    assert time.monotonic() - began < 0.9, "one that was waited for in vain holds up nothing else"


async def test_before_anything_is_enforced_addresses_are_waited_for_longer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policies of before they are switched on do not cut what they allow while the operator reads pods."""
    monkeypatch.setattr("quilt_pods.sender._PATIENCE", 0.05)
    scene.api.put(PODS, pod("web"))
    scene.api.put(POLICIES, policy("to-web", WEB, allows=CLIENT))
    scene.start(policies=True)
    await eventually(lambda: scene.pods.problems and "behind 1 of their selectors" in scene.pods.problems[0])
    await asyncio.sleep(0.2)
    assert not scene.runtime.replaced
    scene.api.put(PEERS, peers(CLIENTS, "10.42.2.2"))
    await eventually(lambda: scene.runtime.sets.get(CLIENTS.set_name) == {"10.42.2.2"})
    assert len(scene.runtime.replaced) == 1
    await eventually(lambda: not scene.pods.problems)


async def test_nothing_is_waited_for_for_ever_at_first_either(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quilt_pods.sender._FIRST_PATIENCE", 0.2)
    scene.api.put(PODS, pod("web"))
    scene.api.put(POLICIES, policy("to-web", WEB, allows=CLIENT))
    scene.start(policies=True)
    await eventually(lambda: isolated(scene, "web"))
    assert scene.runtime.sets[CLIENTS.set_name] == set()


async def test_off_again_nothing_is_followed_and_on_again_everything_is_sent(scene: Scene) -> None:
    await enforced(scene)
    scene.want(policies=False)
    await eventually(lambda: scene.gauge("enforced") == 0)
    asked = scene.api.count("GET", "")
    scene.api.put(PODS, pod("other"))
    await asyncio.sleep(0.2)
    assert scene.api.count("GET", "") == asked
    assert not scene.pods.problems
    scene.want(policies=True)
    await eventually(lambda: isolated(scene, "other") is False)


async def test_without_policies_nothing_of_them_is_asked_for(scene: Scene) -> None:
    scene.start()
    await eventually(lambda: scene.published() == {})
    assert {verb for verb, _ in scene.api.requests} == {"PATCH"}


@pytest.mark.parametrize("later", [False, True])
async def test_cluster_policies_are_followed_where_their_crd_is(
    scene: Scene, later: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quilt_pods.cluster_policies._AGAIN", 0.1)
    deny = {
        "metadata": {"name": "guard"},
        "spec": {
            "tier": "Admin",
            "priority": 1,
            "subject": {"namespaces": {"matchLabels": {"guarded": "yes"}}},
            "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}],
        },
    }

    def install() -> None:
        scene.api.objects[CLUSTER.rpartition("/")[0]] = {
            "v1beta1": {"resources": [{"name": "clusternetworkpolicies"}]}
        }
        scene.api.put(f"{CLUSTER}/clusternetworkpolicies", deny)
        scene.api.put("/api/v1/namespaces", {"metadata": {"name": "shop", "labels": {}}})

    if not later:
        install()
    scene.api.put(PODS, pod("web"))
    scene.start(policies=True)
    await eventually(lambda: isolated(scene, "web") is False)
    if later:
        install()
    await eventually(lambda: scene.gauge("policies") == 1)
    assert isolated(scene, "web") is False
    scene.api.put("/api/v1/namespaces", {"metadata": {"name": "shop", "labels": {"guarded": "yes"}}})
    await eventually(lambda: isolated(scene, "web"))
    scene.api.delete(f"{CLUSTER}/clusternetworkpolicies", "guard")
    await eventually(lambda: isolated(scene, "web") is False)
