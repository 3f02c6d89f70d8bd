// Files that travel with a run: what is in them is somebody else's, and they may be hostile.
#include "cli/file_bundle.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "config/limits.h"

namespace gpupool {
namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "gpupool-files-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~Folder() { fs::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string text(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(path / name).rdbuf();
    return text.str();
  }
  fs::path path;
};

// An archive with one entry that pack_files() would never write.
std::string archive_with(const std::string& name, unsigned type, const std::string& link = "",
                         int copies = 1) {
  std::string bytes;
  archive* to = ::archive_write_new();
  ::archive_write_set_format_gnutar(to);
  ::archive_write_open(
      to, &bytes, nullptr,
      [](archive*, void* into, const void* from, std::size_t size) -> la_ssize_t {
        static_cast<std::string*>(into)->append(static_cast<const char*>(from), size);
        return static_cast<la_ssize_t>(size);
      },
      nullptr);
  for (int i = 0; i < copies; ++i) {
    archive_entry* entry = ::archive_entry_new();
    ::archive_entry_set_pathname(entry, name.c_str());
    ::archive_entry_set_filetype(entry, type);
    ::archive_entry_set_perm(entry, 0644);
    if (type == AE_IFLNK) ::archive_entry_set_symlink(entry, link.c_str());
    if (type == AE_IFREG && !link.empty()) ::archive_entry_set_hardlink(entry, link.c_str());
    ::archive_entry_set_size(entry, type == AE_IFREG && link.empty() ? 1 : 0);
    ::archive_write_header(to, entry);
    if (type == AE_IFREG && link.empty()) ::archive_write_data(to, "x", 1);
    ::archive_entry_free(entry);
  }
  ::archive_write_free(to);
  return bytes;
}

}  // namespace

TEST_CASE("Files come out of an archive as they went in, and the same files are the same bytes") {
  const std::vector<BundledFile> files{
      {.name = "b/d\xc3\xa4tei", .bytes = std::string(100'000, 'x')},
      {.name = "a", .bytes = "", .is_executable = true},
      {.name = std::string(120, 'n').append("/").append(200, 'm'),
       .bytes = std::string("\0\xff", 2)}};
  const auto packed = pack_files(files);
  REQUIRE(packed);
  const auto again = pack_files({files[2], files[0], files[1]});
  REQUIRE(again);
  CHECK((*packed == *again));
  const auto unpacked = unpack_files(*packed);
  REQUIRE(unpacked);
  REQUIRE(unpacked->size() == 3);
  CHECK((*unpacked)[0].name == "a");
  CHECK((*unpacked)[0].is_executable);
  CHECK((*unpacked)[1].name == files[0].name);
  CHECK((*unpacked)[1].bytes == files[0].bytes);
  CHECK((*unpacked)[2].bytes == files[2].bytes);
}

TEST_CASE("A name that leads out of its folder, or is none, is refused on both sides") {
  for (const std::string name : {"", "/etc/passwd", "../x", "a/../b", "a/..", ".", "./a", "a//b",
                                 "a/", "a\nb", "a\x1b[2J", "\xff", "a/./b"}) {
    INFO(name);
    CHECK_FALSE(check_file_name(name));
    CHECK_FALSE(pack_files({{.name = name, .bytes = "x"}}));
    if (!name.empty()) CHECK_FALSE(unpack_files(archive_with(name, AE_IFREG)));
  }
  CHECK_FALSE(check_file_name(std::string(256, 'a')));
  std::string deep = "a";
  for (std::int64_t i = 0; i <= limits::file_depth_max; ++i) deep += "/a";
  CHECK_FALSE(check_file_name(deep));
  CHECK(check_file_name("..a/b.."));
}

TEST_CASE("An archive with a link, a device, the same name twice, or too many files is refused") {
  CHECK(unpack_files(archive_with("x", AE_IFREG)));
  CHECK_FALSE(unpack_files(archive_with("x", AE_IFLNK, "/etc/passwd")));
  CHECK_FALSE(unpack_files(archive_with("x", AE_IFREG, "/etc/passwd")));
  for (const unsigned type : {AE_IFCHR, AE_IFBLK, AE_IFIFO})
    CHECK_FALSE(unpack_files(archive_with("x", type)));
  CHECK_FALSE(unpack_files(archive_with("x", AE_IFREG, "", 2)));
  CHECK_FALSE(pack_files({{.name = "x", .bytes = ""}, {.name = "x/y", .bytes = ""}}));
  CHECK_FALSE(unpack_files(std::string(10'000, 'g')));
  std::vector<BundledFile> many;
  for (std::int64_t i = 0; i <= limits::files_max; ++i)
    many.push_back({.name = std::to_string(i), .bytes = ""});
  CHECK_FALSE(pack_files(many));
}

TEST_CASE("Of a folder only plain files travel; the rest is named, and no link is followed") {
  const Folder folder;
  std::ofstream(folder.path / "a") << "hello";
  fs::create_directories(folder.path / "sub");
  std::ofstream(folder.path / "sub/run") << "x";
  fs::permissions(folder.path / "sub/run", fs::perms::owner_all);
  fs::create_symlink("/etc/passwd", folder.path / "link");
  fs::create_directory_symlink("/etc", folder.path / "etc");
  REQUIRE(::mkfifo((folder.path / "pipe").c_str(), 0600) == 0);
  REQUIRE(::truncate((folder.path / "a").c_str(), 5) == 0);
  std::ofstream(folder.path / "huge").flush();
  fs::resize_file(folder.path / "huge", 10'000'000'000);
  const auto found = read_folder(folder.path, {.files_max = 100, .bytes_max = 1'000'000});
  REQUIRE(found);
  REQUIRE(found->files.size() == 2);
  CHECK(found->files[0].bytes == "hello");
  CHECK(found->files[1].name == "sub/run");
  CHECK(found->files[1].is_executable);
  CHECK(found->left_out_count == 4);
  const auto few = read_folder(folder.path, {.files_max = 1, .bytes_max = 1'000'000});
  REQUIRE(few);
  CHECK(few->files.size() == 1);
}

TEST_CASE("Empty folders travel, and are made where they come") {
  const Folder from;
  const Folder to;
  fs::create_directories(from.path / "a/empty/inner");
  fs::create_directories(from.path / "b");
  std::ofstream(from.path / "b/file") << "x";
  const auto found = read_folder(from.path, {.files_max = 100, .bytes_max = 1'000'000});
  REQUIRE(found);
  REQUIRE(found->files.size() == 2);
  CHECK(found->files[0].name == "a/empty/inner");
  CHECK(found->files[0].is_folder);
  CHECK(found->left_out_count == 0);
  const auto packed = pack_files(found->files);
  REQUIRE(packed);
  const auto unpacked = unpack_files(*packed);
  REQUIRE(unpacked);
  REQUIRE(unpacked->size() == 2);
  CHECK(write_files(to.path, *unpacked));
  CHECK(fs::is_empty(to.path / "a/empty/inner"));
  CHECK(fs::is_directory(to.path / "a/empty/inner"));
  CHECK(fs::is_regular_file(to.path / "b/file"));
  CHECK(write_files(to.path, *unpacked));  // over what is there
}

TEST_CASE("Empty folders count as files, and one that does not fit is named") {
  const Folder folder;
  for (const char* name : {"a", "b", "c"}) fs::create_directories(folder.path / name);
  const auto few = read_folder(folder.path, {.files_max = 2, .bytes_max = 1'000'000});
  REQUIRE(few);
  CHECK(few->files.size() == 2);
  REQUIRE(few->left_out.size() == 1);
  CHECK(few->left_out.front() == "\"c\" is one of more than 2 files");
  const auto small = read_folder(folder.path, {.files_max = 9, .bytes_max = 6'000});
  REQUIRE(small);
  CHECK(small->files.size() == 1);
  CHECK(small->left_out_count == 2);
}

TEST_CASE("A folder of an archive is told only if nothing lies in it, once, and is no file") {
  const auto twice = unpack_files(archive_with("d", AE_IFDIR, "", 2));
  REQUIRE(twice);
  REQUIRE(twice->size() == 1);
  CHECK(twice->front().is_folder);
  const auto packed = pack_files({{.name = "d", .is_folder = true}, {.name = "d/x", .bytes = "x"}});
  REQUIRE(packed);
  CHECK(unpack_files(*packed)->size() == 1);
  CHECK_FALSE(pack_files({{.name = "d", .is_folder = true}, {.name = "d", .bytes = "x"}}));
  CHECK_FALSE(unpack_files(archive_with("../d", AE_IFDIR)));
  const Folder folder;
  const Folder elsewhere;
  fs::create_directory_symlink(elsewhere.path, folder.path / "sub");
  CHECK_FALSE(write_files(folder.path, {{.name = "sub/d", .is_folder = true}}));
  CHECK_FALSE(write_files(folder.path, {{.name = "sub", .is_folder = true}}));
  CHECK(fs::is_empty(elsewhere.path));
}

TEST_CASE("Files are written through no link that lies in the way") {
  const Folder folder;
  const Folder elsewhere;
  fs::create_directory_symlink(elsewhere.path, folder.path / "sub");
  fs::create_symlink(elsewhere.path / "target", folder.path / "file");
  CHECK_FALSE(write_files(folder.path, {{.name = "sub/x", .bytes = "x"}}));
  CHECK(fs::is_empty(elsewhere.path));
  CHECK(write_files(folder.path, {{.name = "file", .bytes = "mine"}}));
  CHECK_FALSE(fs::is_symlink(folder.path / "file"));
  CHECK(folder.text("file") == "mine");
  CHECK_FALSE(fs::exists(elsewhere.path / "target"));
  CHECK(write_files(folder.path / "new", {{.name = "d/e", .bytes = "y", .is_executable = true}}));
  CHECK(folder.text("new/d/e") == "y");
}

}  // namespace gpupool
