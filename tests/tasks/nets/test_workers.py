import threading
import time

import pytest
import torch

from tasks.nets.workers import spread

CPU = torch.device("cpu")


def test_results_come_in_the_order_of_the_jobs():
    def work(n):
        time.sleep(0.002 * (n % 3))
        return n * n

    assert list(spread(work, range(20), CPU)) == [n * n for n in range(20)]


def test_work_is_done_in_inference_mode_with_one_thread_each():
    seen = list(spread(lambda _: (torch.is_inference_mode_enabled(), torch.get_num_threads()), range(4), CPU))
    assert seen == [(True, 1)] * 4


def test_torch_gets_its_threads_back():
    def here_and_in_a_new_thread():
        counts = [torch.get_num_threads()]
        new = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
        new.start()
        new.join()
        return counts

    before = torch.get_num_threads()
    list(spread(lambda n: list(spread(abs, [n], CPU)), range(4), CPU))
    assert here_and_in_a_new_thread() == [before, before]


def test_an_error_ends_it_without_doing_the_rest():
    done = []

    def work(n):
        if n == 2:
            raise ValueError("two")
        time.sleep(0.001)
        done.append(n)

    with pytest.raises(ValueError, match="two"):
        list(spread(work, range(1000), CPU))
    assert len(done) < 100
