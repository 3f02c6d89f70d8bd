#pragma once
// Where a picture goes. The place is tried before the job is submitted, so that nobody pays for a
// picture that can't be written, and the picture appears under its name whole or not at all.

#include <filesystem>
#include <string>

#include "base/result.h"

namespace gpupool {

// file_unwritable, with the system's words, unless a file can be made at `path`. Leaves nothing.
Status check_writable(const std::filesystem::path& path);

// Writes a file beside `path`, to the disk, and moves it there. An earlier file is replaced.
Status write_whole(const std::filesystem::path& path, const std::string& bytes);

// `stem`.png in the present folder, or `stem`-2.png and so on: a name that nothing has yet.
std::filesystem::path free_name(const std::string& stem);

}  // namespace gpupool
