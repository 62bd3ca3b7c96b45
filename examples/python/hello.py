#!/usr/bin/env python3
"""A whole framework without our SDK: plain gRPC, stubs made on the spot from the .proto files."""

import getpass
import queue
import sys
import tempfile
from pathlib import Path
import grpc
import grpc_tools.protoc

PROTO = Path(__file__).resolve().parents[2] / "proto"
given = dict(enumerate(sys.argv))
MASTER, COMMAND = given.get(1, "127.0.0.1:5050"), given.get(2, "echo hello from python")

stubs = tempfile.TemporaryDirectory()
files = [str(f.relative_to(PROTO)) for f in (PROTO / "mezzo/v1").rglob("*.proto")]
where = [f"-I{PROTO}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
where += [f"--python_out={stubs.name}", f"--grpc_python_out={stubs.name}"]
if grpc_tools.protoc.main(["protoc", *where, *files]):
    sys.exit("cannot make stubs")
sys.path.insert(0, stubs.name)
from mezzo.v1 import framework_pb2, task_pb2  # noqa: E402
from mezzo.v1.scheduler import scheduler_pb2 as api, service_pb2_grpc  # noqa: E402

info = framework_pb2.FrameworkInfo(user=getpass.getuser(), name="python", roles=["*"])
info.capabilities.add(type="MULTI_ROLE")
calls = queue.SimpleQueue()
calls.put(api.Call(type="SUBSCRIBE", subscribe={"framework_info": info}))
framework, launched, state = None, False, None
master = service_pb2_grpc.SchedulerServiceStub(grpc.insecure_channel(MASTER))
for event in master.Connect(iter(calls.get, None)):
    kind = api.Event.Type.Name(event.type)
    if kind == "SUBSCRIBED":
        framework = event.subscribed.framework_id
    elif kind == "ERROR":
        sys.exit(event.error.message)
    elif kind == "OFFERS":
        for offer in event.offers.offers:
            call = api.Call(type="ACCEPT", framework_id=framework)
            call.accept.offer_ids.append(offer.id)  # without operations: a decline
            if not launched:
                launched = True
                task = task_pb2.TaskInfo(name="hello", task_id={"value": "hello"}, agent_id=offer.agent_id)
                task.command.value = COMMAND
                for name, amount in ("cpus", 0.1), ("mem", 32):
                    task.resources.add(name=name, type="SCALAR", scalar={"value": amount}).allocation_info.role = "*"
                call.accept.operations.add(type="LAUNCH").launch.task_infos.append(task)
            calls.put(call)
    elif kind == "UPDATE":
        status = event.update.status
        state = task_pb2.TaskState.Name(status.state)
        if status.uuid:
            ack = {"agent_id": status.agent_id, "task_id": status.task_id, "uuid": status.uuid}
            calls.put(api.Call(type="ACKNOWLEDGE", framework_id=framework, acknowledge=ack))
        if state not in ("TASK_STARTING", "TASK_RUNNING"):
            calls.put(api.Call(type="TEARDOWN", framework_id=framework))
            calls.put(None)
print(f"hello.py: {state}")
sys.exit(state != "TASK_FINISHED")
