#pragma once
// The files that travel with a run, as one tar archive: what a caller gives a command, and what
// that leaves in $GPUPOOL_OUT. Both sides check every name: nothing leads out of a folder, through
// a link or to anything but a plain file, and everything is bounded (limits::file*). Free
// functions.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gpupool {

struct BundledFile {
  std::string name;  // "results/epoch-1.pt": relative, folders with "/"
  std::string bytes;
  bool is_executable = false;
  bool is_folder = false;  // has no bytes; only an empty one has to be named
};

// bad_request: an absolute name, "..", ".", an empty part, a control character, not UTF-8, too long
// or too deep.
Status check_file_name(std::string_view name);

// Sorted by name, so that the same files are the same bytes. bad_request: a name, two of the same
// name, one that is another's folder, too many.
Result<std::string> pack_files(std::vector<BundledFile> files);
// The same checks, of somebody else's archive: anything but plain files and folders is refused. Of
// its folders those are told in which nothing lies.
Result<std::vector<BundledFile>> unpack_files(std::string_view archive);

struct FolderBounds {
  std::int64_t files_max = 0;
  std::int64_t bytes_max = 0;
};
struct FolderContents {
  std::vector<BundledFile> files;     // and folders that are empty
  std::vector<std::string> left_out;  // a few of those that can't travel, and why
  std::int64_t left_out_count = 0;
};
// Whatever somebody hostile put there: links are not followed, and only plain files are read. A
// folder counts as a file if it is empty.
// Nobody may change the folder meanwhile. file_unreadable: the folder itself.
Result<FolderContents> read_folder(const std::filesystem::path& folder, FolderBounds bounds);

// Writes them, and makes the folders, below `folder`, which is made if it is not there. Through no
// link that lies in it; a file of the same name is replaced once the new one is whole.
// file_unwritable.
Status write_files(const std::filesystem::path& folder, const std::vector<BundledFile>& files);

}  // namespace gpupool
