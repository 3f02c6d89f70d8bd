#pragma once
// Which columns of a CSV trace say what (`gpupool simulate --columns FILE`), read from TOML as
// strictly as a configuration: an error names the line and the key.

#include <filesystem>
#include <string>

#include "base/result.h"
#include "base/time.h"

namespace gpupool {

struct TraceColumns {
  std::string arrival;      // seconds, or times such as 2024-11-15 16:57:50
  std::string ran_s;        // how long it really ran
  std::string declared_s;   // empty: drawn, a factor of 1 to 3 times what it ran
  std::string account;      // empty: everybody is one
  std::string only_column;  // empty: every row counts; otherwise those with `only_value` there
  std::string only_value;
  std::string xlarge_column;  // empty: every request is large; xlarge from this number on
  std::uint32_t xlarge_from = 2;
};

Result<TraceColumns> load_trace_columns(const std::filesystem::path& file);

}  // namespace gpupool
