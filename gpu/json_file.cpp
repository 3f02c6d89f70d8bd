#include "gpu/json_file.h"

#include <algorithm>
#include <fstream>

namespace gpupool {

namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {

constexpr std::uintmax_t json_bytes_max = 8U << 20U;

}  // namespace

Error file_error(Errc code, const fs::path& file, const std::string& why) {
  return {.code = code, .detail = file.string() + ": " + why};
}

Result<Json> read_json(const fs::path& file) {
  std::error_code status;
  const std::uintmax_t size = fs::file_size(file, status);
  if (status) return file_error(Errc::file_unreadable, file, status.message());
  if (size > json_bytes_max) return file_error(Errc::file_malformed, file, "too large");
  std::string text(size, '\0');
  std::ifstream stream(file, std::ios::binary);
  stream.read(text.data(), static_cast<std::streamsize>(size));
  if (!stream) return file_error(Errc::file_unreadable, file, "could not be read to its end");
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return file_error(Errc::file_malformed, file, "not JSON");
  if (!json.is_object() && !json.is_array())
    return file_error(Errc::file_malformed, file, "neither a JSON object nor a list");
  return json;
}

std::optional<std::vector<std::string>> texts_of(const Json& json) {
  if (!json.is_array()) return std::nullopt;
  std::vector<std::string> list;
  for (const Json& item : json) {
    if (!item.is_string()) return std::nullopt;
    list.push_back(item.get<std::string>());
  }
  return list;
}

std::int64_t JsonReader::whole(const char* key, std::int64_t most) {
  const auto found = json_.find(key);
  if (found != json_.end() && found->is_number_unsigned() &&
      found->get<std::uint64_t>() <= static_cast<std::uint64_t>(most)) {
    return found->get<std::int64_t>();
  }
  complain(Errc::file_malformed,
           std::string(key) + " is not a whole number up to " + std::to_string(most));
  return 0;
}

std::int64_t JsonReader::positive(const char* key, std::int64_t most) {
  const std::int64_t value = whole(key, most);
  if (value == 0) complain(Errc::file_malformed, std::string(key) + " is zero or missing");
  return std::max<std::int64_t>(value, 1);
}

double JsonReader::real(const char* key) {
  const auto found = json_.find(key);
  if (found != json_.end() && found->is_number() && found->get<double>() > 0)
    return found->get<double>();
  complain(Errc::file_malformed, std::string(key) + " is not a number above zero");
  return 1;
}

std::vector<std::string> JsonReader::texts(const char* key) {
  const auto found = json_.find(key);
  if (found != json_.end()) {
    if (auto list = texts_of(*found)) return *std::move(list);
  }
  complain(Errc::file_malformed, std::string(key) + " is not a list of words");
  return {};
}

void JsonReader::expect(const char* key, const Json& value) {
  const auto found = json_.find(key);
  if (found == json_.end() || *found != value)
    complain(Errc::unsupported, std::string(key) + " has to be " + value.dump());
}

void JsonReader::expect_if_there(const char* key, const Json& value) {
  if (has(key)) expect(key, value);
}

bool JsonReader::has(const char* key) const {
  const auto found = json_.find(key);
  return found != json_.end() && !found->is_null();
}

void JsonReader::complain(Errc code, const std::string& why) {
  if (!complaint_) complaint_ = Error{.code = code, .detail = why};
}

Status JsonReader::status(const fs::path& file) const {
  if (!complaint_) return ok();
  return file_error(complaint_->code, file, complaint_->detail);
}

}  // namespace gpupool
