"""docs/start.md: its blocks, typed in one shell as they stand there, lead to a picture, two people, and
books that add up."""

import os
import pathlib
import re
import tempfile
import unittest

import pool

PAGE = pool.SOURCE / "docs/start.md"


class Start(unittest.TestCase):
    def test_the_blocks_of_the_page_do_what_it_says(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        # What the page finds in a clone, at an endpoint that nobody else has.
        (folder / "build").mkdir()
        (folder / "build/release").symlink_to(pool.BUILD)
        (folder / "models").symlink_to(pool.SOURCE / "models")
        blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
        self.assertGreaterEqual(len(blocks), 4)
        endpoint = f"ipc://{folder}/socket"
        script = "\n".join(blocks).replace("[broker]", f'[broker]\nclient_endpoint = "{endpoint}"')
        environment = dict(os.environ, GPUPOOL_ENDPOINT=endpoint, PATH=pool.PATH)
        # Whatever fails in between, the daemon goes.
        begin = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
        said = pool.run("bash", "-euo", "pipefail", "-c", f"{begin}{script}\nwait", cwd=folder,
                        env=environment).stdout
        self.assertIn("pool.toml is good", said)
        self.assertIn("charged to user:you (tier free)", said)
        self.assertIn("user:bob (tier pro)", said)
        self.assertRegex(said, r"user:bob.* 600\.0 s ")
        self.assertIn("every invariant holds", said)
        self.assertTrue((folder / "mypool/heart.png").read_bytes().startswith(pool.PNG))


if __name__ == "__main__":
    pool.main()
