#include "cli/logging.h"

#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "actors/request_id.h"
#include "base/clock.h"
#include "cli/terminal.h"

namespace gpupool {
namespace {

constexpr std::size_t waiting_lines_max = 8'192;
constexpr Duration repeat_interval = seconds(60);
constexpr std::size_t warned_max = 256;

constexpr const char* text_pattern = "%Y-%m-%dT%H:%M:%S.%eZ %l %v";
constexpr const char* json_line_pattern = R"({"at":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})";
// %* is the message as a JSON string.
constexpr const char* json_plain_pattern =
    R"({"at":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","event":"library","text":%*})";

std::string json_string(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

class JsonString : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    const std::string text = json_string({message.payload.data(), message.payload.size()});
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JsonString>();
  }
};

std::unique_ptr<spdlog::formatter> formatter_of(const char* pattern) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  formatter->add_flag<JsonString>('*').set_pattern(pattern);
  return formatter;
}

LogLevel level_of(const std::string& name) {
  if (name == "info") return LogLevel::info;
  if (name == "warn") return LogLevel::warn;
  if (name == "error") return LogLevel::error;
  if (name == "off") return LogLevel::off;
  return LogLevel::debug;  // "debug", and "trace", which only libraries have
}

spdlog::level::level_enum theirs(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warn:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
    case LogLevel::critical:
      return spdlog::level::critical;
    case LogLevel::off:
      break;
  }
  return spdlog::level::off;
}

std::shared_ptr<spdlog::logger> logger_of(
    const std::shared_ptr<spdlog::details::thread_pool>& writer, const LogConfig& config,
    const char* pattern) {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  sink->set_formatter(formatter_of(pattern));
  auto logger = std::make_shared<spdlog::async_logger>(
      "gpupoold", std::move(sink), writer, spdlog::async_overflow_policy::overrun_oldest);
  logger->set_level(spdlog::level::from_str(config.level));
  logger->set_error_handler([](const std::string&) {});  // a log has nobody to complain to
  return logger;
}

}  // namespace

Log::Log(const LogConfig& config)
    : json_(config.json),
      least_(level_of(config.level)),
      writer_(std::make_shared<spdlog::details::thread_pool>(waiting_lines_max, 1)),
      lines_(logger_of(writer_, config, json_ ? json_line_pattern : text_pattern)) {
  spdlog::set_default_logger(logger_of(writer_, config, json_ ? json_plain_pattern : text_pattern));
}

Log::~Log() { end(); }

// The last owner of the writer ends it, once its queue is empty. Loggers hold it weakly.
void Log::end() { writer_.reset(); }

void Log::write(const LogLine& line) {
  if (line.level < least_ || was_said_lately(line)) return;
  lines_->log(theirs(line.level), json_ ? json_members_of(line) : text_of(line));
}

void Log::say(LogLevel level, std::string_view event, std::string text) {
  write({.level = level, .event = event, .text = std::move(text)});
}

// What is about a job happens to that job once, and is always told.
bool Log::was_said_lately(const LogLine& line) {
  if (line.level != LogLevel::warn && line.level != LogLevel::error) return false;
  if (line.job) return false;
  std::string text = text_of(line);
  const Instant now = boot_time();
  const std::lock_guard lock(mutex_);
  while (!warned_.empty() && now - warned_.front().at >= repeat_interval) warned_.pop_front();
  for (const Warned& one : warned_)
    if (one.text == text) return true;
  if (warned_.size() == warned_max) warned_.pop_front();
  warned_.push_back({std::move(text), now});
  return false;
}

std::string text_of(const LogLine& line) {
  std::string text(line.event);
  if (line.job) text += " job=" + std::to_string(line.job.value);
  if (!line.account.text.empty()) text += " account=" + line.account.text;
  if (!line.node.empty()) text += " node=" + line.node;
  if (line.request != RequestId{}) text += " request=" + format_request_id(line.request);
  return printable(text + ": " + line.text);
}

std::string json_members_of(const LogLine& line) {
  std::string members =
      "\"event\":" + json_string(line.event) + ",\"text\":" + json_string(line.text);
  if (line.job) members += ",\"job\":" + std::to_string(line.job.value);
  if (!line.account.text.empty()) members += ",\"account\":" + json_string(line.account.text);
  if (!line.node.empty()) members += ",\"node\":" + json_string(line.node);
  if (line.request != RequestId{})
    members += ",\"request\":\"" + format_request_id(line.request) + "\"";
  return members;
}

}  // namespace gpupool
