// A picture's file appears whole or not at all, and a bad place is noticed before anybody pays.
#include "cli/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>

#include "cli/token_command.h"
#include "tests/folder.h"

using namespace gpupool;

TEST_CASE("Trying a place leaves nothing there") {
  const Folder folder;
  CHECK(check_writable(folder.path / "heart.png"));
  CHECK(folder.files() == 0);
}

TEST_CASE("A place that cannot take a file is an error with the system's words") {
  const Folder folder;
  const auto missing = check_writable(folder.path / "missing" / "heart.png");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == Errc::file_unwritable);
  CHECK(missing.error().detail ==
        (folder.path / "missing" / "heart.png").string() + ": No such file or directory");
  const auto directory = check_writable(folder.path);
  REQUIRE_FALSE(directory);
  CHECK(directory.error().detail == folder.path.string() + ": Is a directory");
  CHECK_FALSE(check_writable(folder.path / ""));
}

TEST_CASE("A written file is whole, alone, and readable as the umask says") {
  const Folder folder;
  const std::string bytes(100'000, '\xff');
  REQUIRE(write_whole(folder.path / "heart.png", "an older picture"));
  REQUIRE(write_whole(folder.path / "heart.png", bytes));
  CHECK(content_of(folder.path / "heart.png") == bytes);
  CHECK(folder.files() == 1);
  struct stat status {};
  REQUIRE(stat((folder.path / "heart.png").c_str(), &status) == 0);
  const mode_t mask = umask(0);
  umask(mask);
  CHECK((status.st_mode & 0777U) == (0666U & ~mask));
}

TEST_CASE("A device or a pipe is written to and never replaced by a file") {
  const Folder folder;
  const auto null = folder.path / "null";
  std::filesystem::create_symlink("/dev/null", null);
  CHECK(check_writable(null));
  CHECK(write_whole(null, "a picture"));
  CHECK(std::filesystem::is_symlink(null));
  CHECK(std::filesystem::is_character_file("/dev/null"));

  const auto pipe = folder.path / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  const int reader = open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  CHECK(check_writable(pipe));
  CHECK(write_whole(pipe, "a picture"));
  std::string read_back(64, '\0');
  read_back.resize(static_cast<std::size_t>(read(reader, read_back.data(), read_back.size())));
  CHECK(read_back == "a picture");
  close(reader);
  CHECK(std::filesystem::is_fifo(pipe));
  CHECK(folder.files() == 2);
}

TEST_CASE("A link to a file stays a link, and what it leads to is replaced") {
  const Folder folder;
  std::filesystem::create_directory(folder.path / "pictures");
  const auto target = folder.path / "pictures" / "heart.png";
  REQUIRE(write_whole(target, "before"));
  const auto link = folder.path / "latest.png";
  std::filesystem::create_symlink(target, link);
  REQUIRE(write_whole(link, "after"));
  CHECK(std::filesystem::is_symlink(link));
  CHECK(content_of(target) == "after");
}
