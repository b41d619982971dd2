#!/usr/bin/python3
"""A client of containerd's CRI (runtime.v1, k8s.io/cri-api), as a kubelet is one: cri.py SOCKET VERB ARGUMENT...

  status                        prints "network ready" or "network not ready: WHY"
  run NAME IMAGE [HOSTPORT]     runs a pod sandbox and a web server in it; prints the ids of both
  ip SANDBOX                    prints the pod's addresses, one on a line
  exec CONTAINER COMMAND...     runs a command; its output, its status
  stop SANDBOX                  stops and removes it
"""
import sys

import grpc


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    """One field of a protobuf message: an integer, a text, or a message that is encoded already."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(data):
    """The fields of a message, as pairs of number and value."""
    def read():
        nonlocal data
        value = shift = 0
        while True:
            byte, data = data[0], data[1:]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while data:
        key = read()
        value = read()
        if key & 7 == 2:
            value, data = data[:value], data[value:]
        yield key >> 3, value


def get(data, number, default=b""):
    return next((value for there, value in fields(data) if there == number), default)


def main():
    socket, verb, *arguments = sys.argv[1:]
    channel = grpc.insecure_channel("unix://" + socket)

    def call(method, message):
        return channel.unary_unary("/runtime.v1.RuntimeService/" + method)(message, timeout=120)

    if verb == "status":
        for number, condition in fields(get(call("Status", b""), 1)):
            if number == 1 and get(condition, 1) == b"NetworkReady":
                ready = get(condition, 2, 0)
                print("network ready" if ready else "network not ready: " + get(condition, 4).decode())
                sys.exit(not ready)
        sys.exit("no condition NetworkReady")
    if verb == "run":
        name, image, *port = arguments
        metadata = field(1, name) + field(2, "uid-" + name) + field(3, "default")
        config = field(1, metadata) + field(2, name) + field(3, "/run/pods/" + name)
        if port:
            config += field(5, field(2, 80) + field(3, int(port[0])))
        sandbox = get(call("RunPodSandbox", field(1, config)), 1)
        server = field(1, field(1, "www")) + field(2, field(1, image)) + field(11, "www.log")
        for word in ("httpd", "-f", "-p", "[::]:80", "-h", "/www"):
            server += field(3, word)
        made = call("CreateContainer", field(1, sandbox) + field(2, server) + field(3, config))
        container = get(made, 1)
        call("StartContainer", field(1, container))
        print(sandbox.decode(), container.decode())
    elif verb == "ip":
        network = get(get(call("PodSandboxStatus", field(1, arguments[0])), 1), 5)
        print(get(network, 1).decode())
        for number, more in fields(network):
            if number == 2:
                print(get(more, 1).decode())
    elif verb == "exec":
        message = field(1, arguments[0]) + b"".join(field(2, word) for word in arguments[1:])
        answer = call("ExecSync", message + field(3, 60))
        sys.stdout.write(get(answer, 1).decode() + get(answer, 2).decode())
        sys.exit(get(answer, 3, 0))
    elif verb == "stop":
        call("StopPodSandbox", field(1, arguments[0]))
        call("RemovePodSandbox", field(1, arguments[0]))
    else:
        sys.exit(__doc__)


main()
