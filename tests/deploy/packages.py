"""The Debian packages as cpack makes them of the build folder, and a root to install them in."""

import hashlib
import pathlib
import shutil

import pool

NAMES = ["gpupool", "gpupoold", "libgpupool-dev"]


def has_cuda():
    return (pool.BUILD / "gpupool-diffusion-cuda").exists()


def state_of_inputs():
    """Changes whenever something that goes into the packages does."""
    files = [*pool.BUILD.glob("gpupool*"), *(pool.BUILD / "packaging").glob("*.a"),
             pool.BUILD / "CPackConfig.cmake", pool.BUILD / "cmake_install.cmake"]
    for part in ("deploy", "cmake", "config", "docs", "models", "net", "actors", "base"):
        files += (pool.SOURCE / part).rglob("*")
    said = [f"{file} {file.stat().st_mtime_ns} {file.stat().st_size}"
            for file in sorted(files) if file.is_file()]
    head = pool.run("git", "-C", pool.SOURCE, "rev-parse", "HEAD", check=False).stdout
    return hashlib.sha256("\n".join([*said, head]).encode()).hexdigest()


def build():
    """Makes every package, unless those of the last time are still what they would be; by name."""
    if not (pool.BUILD / "packaging" / "libgpupool.a").exists():
        raise AssertionError("nothing to pack: first `cmake --build` everything")
    folder = pool.BUILD / "deploy-packages"
    mark = folder / "inputs"
    state = state_of_inputs()
    if not mark.exists() or mark.read_text() != state:
        shutil.rmtree(folder, ignore_errors=True)
        # The packer's own default packs better, and takes three times as long.
        pool.run("cpack", "--config", pool.BUILD / "CPackConfig.cmake", "-B", folder,
                 "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=gzip", cwd=pool.BUILD, timeout=300)
        shutil.rmtree(folder / "_CPack_Packages")
        mark.write_text(state)
    return {file.name.split("_")[0]: file for file in folder.glob("*.deb")}


def control(package):
    """The fields of a package."""
    fields, name = {}, ""
    for line in pool.run("dpkg-deb", "-f", package).stdout.splitlines():
        if not line.startswith(" "):
            name, _, line = line.partition(": ")
        fields[name] = fields.get(name, "") + line
    return fields


def depended_on(package):
    words = control(package).get("Depends", "").replace("|", ",").split(",")
    return {word.split()[0] for word in words if word.strip()}


def empty_root(folder):
    """A folder that dpkg takes for a system without packages."""
    root = pathlib.Path(folder)
    for part in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "run", "tmp"):
        (root / part).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/status").touch()
    return root


def dpkg(root, *words):
    """dpkg over that root: its scripts run out here, with DPKG_ROOT, and touch only that root."""
    return pool.run("dpkg", f"--root={root}", "--force-script-chrootless", "--force-depends",
                    "--log=/dev/null", *words)


def newer(package, folder):
    """The same package with a later version."""
    tree = pathlib.Path(folder) / "newer"
    pool.run("dpkg-deb", "-R", package, tree)
    file = tree / "DEBIAN" / "control"
    version = control(package)["Version"]
    file.write_text(file.read_text().replace(f"Version: {version}", f"Version: {version}.1"))
    made = pathlib.Path(folder) / f"newer_{package.name}"
    pool.run("dpkg-deb", "-Zgzip", "-b", tree, made)
    shutil.rmtree(tree)
    return made
