"""An application whose tasks do what tasks should not; ``x`` names the deed."""

APP = '''
import multiprocessing, os, signal, sys, tempfile, threading, time
import hydra


class Tensor:
    """As PyTorch's: size is a method, and there is a shape."""

    shape = (2,)

    def size(self):
        return self.shape

    def tolist(self):
        return [1.0, 2.0]


class Shy:
    def __init__(self):
        self.lock = threading.Lock()

    def __repr__(self):
        raise RuntimeError("no repr")


class Mute(Exception):
    def __str__(self):
        raise self


class Odd(BaseException):
    pass


def raising(error):
    raise error


def closes_streams():
    sys.stdout.close()
    sys.stderr.close()
    os.close(1)
    os.close(2)
    return 1


def moves_away():
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)
    return list(range(20000))


def holds_itself():
    value = [1]
    value.append(value)
    return value


def recurses():
    return recurses()


def forks_and_both_return():
    return "child" if os.fork() == 0 else os.wait() and "parent"


def stops_in_a_destructor():
    class Gone:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)

    Gone()
    time.sleep(3600)


def stops_itself():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def fails_while_it_is_stopped():
    try:
        stops_itself()
    finally:
        raise OSError("the checkpoint could not be saved")


def fails_by_a_handler_of_its_own():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    stops_itself()


def heeds_by_a_handler_of_its_own():
    arrived = []
    signal.signal(signal.SIGTERM, lambda *_: arrived.append(1))
    os.kill(os.getpid(), signal.SIGTERM)
    return arrived


def stays():
    try:
        stops_itself()
    except BaseException:
        return "stayed"


def terminates_a_worker():
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()
    worker.terminate()
    worker.join()
    return worker.exitcode


def has_a_child():
    child = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60")
    with open(os.environ["COUNT_FILE"] + ".child", "w") as file:
        file.write(f"{child}\\n")
    time.sleep(60)


def hangs_when_stopped():
    try:
        has_a_child()
    finally:
        time.sleep(60)


def prints_a_lot():
    for _ in range(100):
        os.write(1, b"x" * 2**20)
    return 1


TASKS = {
    "closes-streams": closes_streams,
    "moves-away": moves_away,
    "exits-hard": lambda: os._exit(3),
    "returns-a-lock": threading.Lock,
    "returns-shy": Shy,
    "returns-tensor": Tensor,
    "returns-itself": holds_itself,
    "raises-a-lock": lambda: raising(ValueError(threading.Lock())),
    "raises-mute": lambda: raising(Mute()),
    "raises-odd": lambda: raising(Odd("odd")),
    "recurses": recurses,
    "interrupts": lambda: raising(KeyboardInterrupt()),
    "exits-with-words": lambda: sys.exit("out of patience"),
    "exits-256": lambda: sys.exit(256),
    "exits-huge": lambda: sys.exit(2**70),
    "forks": forks_and_both_return,
    "stops-itself": stops_itself,
    "stops-in-a-destructor": stops_in_a_destructor,
    "fails-while-stopped": fails_while_it_is_stopped,
    "fails-by-own-handler": fails_by_a_handler_of_its_own,
    "heeds-by-own-handler": heeds_by_a_handler_of_its_own,
    "stays": stays,
    "terminates-a-worker": terminates_a_worker,
    "prints-a-lot": prints_a_lot,
    "has-a-child": has_a_child,
    "hangs-when-stopped": hangs_when_stopped,
    "counts": lambda: 1,
}


@hydra.main(version_base=None, config_path=None)
def main(cfg):
    with open(os.environ["COUNT_FILE"], "a") as file:
        file.write(f"{cfg.x}\\n")
    return TASKS[cfg.x]()


if __name__ == "__main__":
    main()
'''
NAMES = tuple(line.split('"')[1] for line in APP.splitlines() if line.startswith('    "') and '": ' in line)
