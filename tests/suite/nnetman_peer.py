#!/usr/bin/python3
"""A host of n-netman's, as far as it speaks: its service and messages field by field, without Weft's.

nnetman_peer.py ID LISTEN PEER: serves at LISTEN, calls PEER, and does what lines of its standard input say:
`announce PREFIX NEXT_HOP VNI`, `withdraw PREFIX`, `raw ID PREFIX NEXT_HOP VNI` (an announcement in another's name),
`quit`. Each thing that it hears is a line of JSON on its standard output.

With TLS: WEFT_PEER_TLS names a directory with ID.pem, ID-key.pem and ca.pem.
"""
import json
import os
import sys
import threading
import time
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TEXT, NUMBER32, NUMBER64, SIGNED64, TRUTH, MESSAGE = 9, 13, 4, 3, 8, 11
ONE, MANY = 1, 3
MESSAGES = {
    "Route": [("prefix", TEXT, ONE), ("next_hop", TEXT, ONE), ("metric", NUMBER32, ONE),
              ("lease_seconds", NUMBER32, ONE), ("tags", TEXT, MANY), ("vni", NUMBER32, ONE)],
    "StateRequest": [("node_id", TEXT, ONE), ("routes", "Route", MANY), ("timestamp_ms", SIGNED64, ONE)],
    "StateResponse": [("node_id", TEXT, ONE), ("routes", "Route", MANY), ("timestamp_ms", SIGNED64, ONE),
                      ("accepted", TRUTH, ONE)],
    "RouteAnnouncement": [("node_id", TEXT, ONE), ("routes", "Route", MANY), ("timestamp_ms", SIGNED64, ONE)],
    "RouteWithdrawal": [("node_id", TEXT, ONE), ("prefixes", TEXT, MANY), ("timestamp_ms", SIGNED64, ONE)],
    "RouteAck": [("accepted", TRUTH, ONE), ("routes_processed", NUMBER32, ONE), ("error", TEXT, ONE)],
    "PeerHealth": [("healthy", TRUTH, ONE), ("route_count", NUMBER32, ONE), ("uptime_seconds", NUMBER64, ONE)],
    "KeepaliveRequest": [("node_id", TEXT, ONE), ("sequence", NUMBER64, ONE), ("timestamp_ms", SIGNED64, ONE)],
    "KeepaliveResponse": [("node_id", TEXT, ONE), ("sequence", NUMBER64, ONE), ("timestamp_ms", SIGNED64, ONE),
                          ("health", "PeerHealth", ONE)],
}


def classes():
    file = descriptor_pb2.FileDescriptorProto(name="nnetman.proto", package="nnetman.v1", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind, label) in enumerate(fields, 1):
            is_message = isinstance(kind, str)
            message.field.add(name=field, number=number, label=label, type=MESSAGE if is_message else kind,
                              type_name=f".nnetman.v1.{kind}" if is_message else None)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return {name: factory.GetPrototype(pool.FindMessageTypeByName(f"nnetman.v1.{name}")) for name in MESSAGES}


M = classes()
ME, LISTEN, PEER = sys.argv[1:4]
ROUTES = []
SERVICE = "/nnetman.v1.NNetMan/"


def now():
    return int(time.time() * 1000)


def say(what, **values):
    print(json.dumps({"what": what, **values}), flush=True)


def heard(routes):
    return [[route.prefix, route.next_hop, route.metric, route.lease_seconds, route.vni] for route in routes]


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        method = details.method.rsplit("/", 1)[1]
        kinds = {"ExchangeState": ("StateRequest", self.exchange), "AnnounceRoutes": ("RouteAnnouncement", self.announce),
                 "WithdrawRoutes": ("RouteWithdrawal", self.withdraw), "Keepalive": ("KeepaliveRequest", self.keepalive)}
        request, do = kinds[method]
        make = grpc.stream_stream_rpc_method_handler if method == "Keepalive" else grpc.unary_unary_rpc_method_handler
        return make(do, request_deserializer=M[request].FromString, response_serializer=lambda one: one.SerializeToString())

    def exchange(self, request, _):
        say("exchange", node=request.node_id, routes=heard(request.routes))
        return M["StateResponse"](node_id=ME, routes=ROUTES, timestamp_ms=now(), accepted=True)

    def announce(self, request, _):
        say("announce", node=request.node_id, routes=heard(request.routes))
        return M["RouteAck"](accepted=True, routes_processed=len(request.routes))

    def withdraw(self, request, _):
        say("withdraw", node=request.node_id, prefixes=list(request.prefixes))
        return M["RouteAck"](accepted=True, routes_processed=len(request.prefixes))

    def keepalive(self, requests, _):
        for request in requests:
            say("alive", node=request.node_id, sequence=request.sequence)
            health = M["PeerHealth"](healthy=True, route_count=len(ROUTES), uptime_seconds=1)
            yield M["KeepaliveResponse"](node_id=ME, sequence=request.sequence, timestamp_ms=now(), health=health)


def files():
    directory = os.environ.get("WEFT_PEER_TLS")
    if not directory:
        return None
    return [open(f"{directory}/{name}", "rb").read() for name in ("ca.pem", f"{ME}-key.pem", f"{ME}.pem")]


def main():
    tls = files()
    server = grpc.server(futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((Handler(),))
    if tls:
        authority, key, certificate = tls
        server.add_secure_port(LISTEN, grpc.ssl_server_credentials([(key, certificate)], authority, True))
        channel = grpc.secure_channel(PEER, grpc.ssl_channel_credentials(authority, key, certificate))
    else:
        server.add_insecure_port(LISTEN)
        channel = grpc.insecure_channel(PEER)
    server.start()

    def call(method, request, answer):
        stub = channel.unary_unary(SERVICE + method, request_serializer=lambda one: one.SerializeToString(),
                                   response_deserializer=M[answer].FromString)
        try:
            return stub(request, timeout=5, wait_for_ready=True)
        except grpc.RpcError as error:
            say("error", method=method, code=error.code().name, details=error.details())
            return None

    def meet():
        got = call("ExchangeState", M["StateRequest"](node_id=ME, routes=ROUTES, timestamp_ms=now()), "StateResponse")
        if got:
            say("state", node=got.node_id, accepted=got.accepted, routes=heard(got.routes))

    def live():
        def requests():
            sequence = 0
            while True:
                sequence += 1
                yield M["KeepaliveRequest"](node_id=ME, sequence=sequence, timestamp_ms=now())
                time.sleep(0.5)
        while True:
            stub = channel.stream_stream(SERVICE + "Keepalive", request_serializer=lambda one: one.SerializeToString(),
                                         response_deserializer=M["KeepaliveResponse"].FromString)
            try:
                for answer in stub(requests()):
                    say("answer", node=answer.node_id, sequence=answer.sequence, healthy=answer.health.healthy,
                        routes=answer.health.route_count)
            except grpc.RpcError:
                time.sleep(0.2)
                meet()

    meet()
    threading.Thread(target=live, daemon=True).start()
    for line in sys.stdin:
        words = line.split()
        if words[0] == "announce":
            route = M["Route"](prefix=words[1], next_hop=words[2], metric=10, lease_seconds=30, vni=int(words[3]))
            ROUTES.append(route)
            got = call("AnnounceRoutes", M["RouteAnnouncement"](node_id=ME, routes=[route], timestamp_ms=now()), "RouteAck")
            if got:
                say("ack", accepted=got.accepted, processed=got.routes_processed, error=got.error)
        elif words[0] == "withdraw":
            ROUTES[:] = [route for route in ROUTES if route.prefix != words[1]]
            request = M["RouteWithdrawal"](node_id=ME, prefixes=[words[1]], timestamp_ms=now())
            got = call("WithdrawRoutes", request, "RouteAck")
            if got:
                say("ack", accepted=got.accepted, processed=got.routes_processed, error=got.error)
        elif words[0] == "raw":
            route = M["Route"](prefix=words[2], next_hop=words[3], metric=1, lease_seconds=30, vni=int(words[4]))
            got = call("AnnounceRoutes", M["RouteAnnouncement"](node_id=words[1], routes=[route], timestamp_ms=now()),
                       "RouteAck")
            if got:
                say("ack", accepted=got.accepted, processed=got.routes_processed, error=got.error)
        elif words[0] == "quit":
            break
    os._exit(0)


main()
