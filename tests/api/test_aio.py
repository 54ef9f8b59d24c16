"""The same, awaited."""

import asyncio

import pytest

from rundlet import aio
from rundlet.api.client import Client
from rundlet.local.settings import MachineSettings

pytestmark = pytest.mark.kernel


def test_containers_run_side_by_side(client: Client, machine_settings: MachineSettings, image: str) -> None:
    client.images.pull(image)

    async def use(own: aio.Client, number: int) -> str:
        async with own.run(image, "sleep 600", network="none") as container:
            return (await container.exec(["echo", str(number)])).stdout

    async def main() -> list[str]:
        async with aio.Client(settings=machine_settings) as own:
            return await asyncio.gather(*(use(own, number) for number in range(3)))

    assert asyncio.run(main()) == ["0\n", "1\n", "2\n"]
    assert not client.containers.list()


def test_log_lines_are_iterated(client: Client, machine_settings: MachineSettings, image: str) -> None:
    async def main() -> list[str]:
        async with (
            aio.Client(settings=machine_settings) as own,
            own.run(image, ["sh", "-c", "echo a; echo b"], network="none") as container,
        ):
            return [entry.text async for entry in container.logs(follow=True)]

    assert asyncio.run(main()) == ["a", "b"]


def test_a_cancelled_run_leaves_nothing(
    client: Client, machine_settings: MachineSettings, image: str
) -> None:
    client.images.pull(image)

    async def main() -> None:
        async with aio.Client(settings=machine_settings) as own:

            async def body() -> None:
                async with own.run(image, "sleep 600", network="none"):
                    await asyncio.sleep(60)

            for seconds in (0, 0.005, 0.05):  # at the beginning, in the midst and near the end of its making
                task = asyncio.create_task(body())
                await asyncio.sleep(seconds)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(main())
    assert not client.machine.engine.pods.list()


def test_sandboxes(client: Client, image: str) -> None:
    async def main() -> str:
        async with aio.Sandbox(image, machine=client.machine) as box:
            await box.write("/work/x", "y")
            return (await box.run(["cat", "x"])).stdout

    assert asyncio.run(main()) == "y"
