"""A supervisor that speaks systemd's protocol, for there is no systemd here: sd_notify(3), sd_listen_fds(3).

supervisor.py PIDFILE COMMAND...

Starts the command again whenever it ends, keeps the sockets that it is given, and hands them to the next process.
SIGUSR1 ends the command by SIGTERM, as `systemctl restart` does; SIGTERM ends both. Writes a line for each event.
"""

import array
import os
import select
import signal
import socket
import sys


def say(text):
    print(text, flush=True)


class Supervisor:
    def __init__(self, pid_file, command):
        self.pid_file, self.command = pid_file, command
        self.stored, self.process, self.is_ending = {}, None, False
        self.path = pid_file + ".notify"
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.path)
        self.wake, waker = socket.socketpair()
        waker.setblocking(False)
        self.wake.setblocking(False)
        self.waker = waker
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGUSR1, lambda *_: os.kill(self.process, signal.SIGTERM))
        signal.signal(signal.SIGTERM, self.end)

    def end(self, *_):
        self.is_ending = True
        os.kill(self.process, signal.SIGTERM)

    def start(self):
        fds = [(name, fd) for name, all_fds in self.stored.items() for fd in all_fds]
        self.process = os.fork()
        if self.process == 0:
            # Out of the way of their places first.
            high = [os.dup2(fd, 200 + place) for place, (_, fd) in enumerate(fds)]
            for place, fd in enumerate(high):
                os.dup2(fd, 3 + place)
                os.close(fd)
            env = dict(os.environ, NOTIFY_SOCKET=self.path, WATCHDOG_USEC="6000000")
            if fds:
                env["LISTEN_FDS"] = str(len(fds))
                env["LISTEN_FDNAMES"] = ":".join(name for name, _ in fds)
                env["LISTEN_PID"] = str(os.getpid())
            os.execve(self.command[0], self.command, env)
        with open(self.pid_file + ".new", "w") as file:
            file.write(str(self.process))
        os.rename(self.pid_file + ".new", self.pid_file)
        say(f"started with {len(fds)} sockets")

    def hear(self):
        size = socket.CMSG_SPACE(16 * array.array("i").itemsize)
        data, beside, _, _ = self.notify.recvmsg(4096, size)
        fds = array.array("i")
        for level, kind, content in beside:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        said = dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)
        name = said.get("FDNAME", "stored")
        if "FDSTORE" in said:
            self.stored.setdefault(name, []).extend(fds)
        if "FDSTOREREMOVE" in said:
            for fd in self.stored.pop(name, []):
                os.close(fd)
        for key in ("READY", "STOPPING", "STATUS", "WATCHDOG"):
            if key in said:
                say(f"{key}={said[key]}")

    def run(self):
        self.start()
        while True:
            ready, _, _ = select.select([self.notify, self.wake], [], [])
            if self.notify in ready:
                self.hear()
                continue
            self.wake.recv(4096)
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == self.process:
                say(f"ended with {status}")
                if self.is_ending:
                    os.unlink(self.path)
                    return
                self.start()


Supervisor(sys.argv[1], sys.argv[2:]).run()
