#pragma once
// Reads numbers and words out of a model's JSON files, which are not trusted: up to the first that
// is missing, of another type or out of its bounds. One thread.

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace gpupool {

// "<file>: <why>".
Error file_error(Errc code, const std::filesystem::path& file, const std::string& why);

// Errors: file_unreadable, file_malformed (not a JSON, or too large).
Result<nlohmann::json> read_json(const std::filesystem::path& file);

class JsonReader {
 public:
  explicit JsonReader(const nlohmann::json& json) : json_(json) {}

  std::int64_t whole(const char* key, std::int64_t most);
  std::int64_t positive(const char* key, std::int64_t most);
  double real(const char* key);  // above zero
  std::vector<std::string> texts(const char* key);
  // A convention that is taken for granted. One that the file doesn't name is not trusted either.
  void expect(const char* key, const nlohmann::json& value);
  // The same for one that a file may leave out, or leave null.
  void expect_if_there(const char* key, const nlohmann::json& value);
  bool has(const char* key) const;  // and it is not null

  void complain(Errc code, const std::string& why);
  // ok, or the first complaint.
  Status status(const std::filesystem::path& file) const;

 private:
  const nlohmann::json& json_;
  std::optional<Error> complaint_;
};

std::optional<std::vector<std::string>> texts_of(const nlohmann::json& json);

}  // namespace gpupool
