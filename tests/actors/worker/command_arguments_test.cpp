// What a request may give a command app, and the words that come of it.
#include "actors/worker/command_arguments.h"

#include <catch2/catch.hpp>

#include "actors/broker/admission.h"
#include "config/limits.h"
#include "config/parameter.h"

namespace gpupool {
namespace {

CommandConfig counting() {
  CommandConfig command;
  command.words = {"/opt/count", "--steps={steps}", "{speed}", "a{{b}}", "--", "{label}"};
  command.parameters = {{.name = "steps", .kind = ParameterKind::integer, .least = 1, .most = 100},
                        {.name = "speed",
                         .kind = ParameterKind::number,
                         .has_default = true,
                         .default_value = "1.5",
                         .low = 0,
                         .high = 10},
                        {.name = "label", .bytes_max = 8}};
  return command;
}

using Words = std::vector<std::string>;

Words words_of(const std::vector<Argument>& arguments) {
  const auto words = command_words(counting(), arguments);
  INFO((words ? "" : words.error().detail));
  REQUIRE(words);
  return *words;
}

std::string refusal_of(const CommandConfig& command, const std::vector<Argument>& arguments) {
  const auto words = command_words(command, arguments);
  REQUIRE_FALSE(words);
  CHECK(words.error().code == Errc::bad_request);
  return words.error().detail;
}

}  // namespace

TEST_CASE("A value fills its place in its word, and whatever is in it never leaves the word") {
  CHECK(words_of({{"steps", "7"}, {"label", "x"}}) ==
        Words{"/opt/count", "--steps=7", "1.5", "a{b}", "--", "x"});
  CHECK(words_of({{"label", "a b;$(c)"}, {"steps", "7"}}).back() == "a b;$(c)");
  CHECK(words_of({{"label", "{steps}"}, {"steps", "7"}}).back() == "{steps}");
  CHECK(words_of({{"label", ""}, {"steps", "7"}}).size() == 6);
  CHECK(words_of({{"label", "'\"\n\\"}, {"steps", "7"}}).back() == "'\"\n\\");
}

TEST_CASE("A refusal names the parameter and what it takes") {
  const CommandConfig command = counting();
  const auto says = [&](const std::vector<Argument>& arguments, const std::string& words) {
    const std::string detail = refusal_of(command, arguments);
    INFO(detail);
    CHECK(detail.find(words) != std::string::npos);
  };
  says({{"label", "x"}}, "steps is missing: a whole number from 1 to 100");
  for (const char* steps :
       {"0", "101", "7.5", "1e1", "+7", " 7", "7 ", "0x7", "", "seven", "99999999999999999999"})
    says({{"steps", steps}, {"label", "x"}}, "steps must be a whole number from 1 to 100, not");
  for (const char* speed : {"nan", "inf", "-1", "10.01", "1,5", "0x1p3", "--1", ""})
    says({{"steps", "7"}, {"label", "x"}, {"speed", speed}},
         "speed must be a number from 0 to 10, not");
  says({{"steps", "7"}, {"label", "123456789"}}, "label must be text of at most 8 bytes, not");
  says({{"steps", "7"}, {"label", std::string("a\0b", 3)}}, "label must be text");
  says({{"steps", "7"}, {"label", "x"}, {"env", "A=b"}}, "there is no parameter \"env\"");
  says({{"steps", "7"}, {"label", "x"}, {"steps", "8"}}, "\"steps\" is given twice");
}

TEST_CASE("A text can't begin a word as an option would, unless options are over") {
  CommandConfig command = counting();
  CHECK(words_of({{"steps", "7"}, {"label", "--help"}}).back() == "--help");
  command.words.erase(command.words.begin() + 4);  // without "--"
  CHECK(refusal_of(command, {{"steps", "7"}, {"label", "--help"}}).find("label must not begin") ==
        0);
  command.words.back() = "--label={label}";
  CHECK(command_words(command, {{"steps", "7"}, {"label", "--help"}}));
}

TEST_CASE("A pattern holds for all of a text, and a choice is one of those that are listed") {
  ParameterConfig parameter{.name = "name", .bytes_max = 100, .pattern = "[a-z]+|x"};
  CHECK(check_value(parameter, "abc"));
  for (const char* other : {"abc1", "1abc", "", "a\nb", "abc\n"}) {
    INFO(other);
    CHECK_FALSE(check_value(parameter, other));
  }
  parameter = {.name = "name", .bytes_max = 100, .choices = {"fast", "-slow"}};
  CHECK(check_value(parameter, "-slow"));
  CHECK_FALSE(check_value(parameter, "slow"));
  parameter = {.name = "deep", .kind = ParameterKind::boolean};
  CHECK(check_value(parameter, "true"));
  CHECK_FALSE(check_value(parameter, "1"));
  CHECK_FALSE(check_value(parameter, "TRUE"));
}

TEST_CASE("A command of the caller's own comes word by word, and is bounded") {
  CommandConfig any;
  const auto words = [&](const Words& own) {
    return command_words(any, {{command_argument, packed_words(own)}});
  };
  CHECK(*words({"python3", "-c", "print(1)", ""}) == Words{"python3", "-c", "print(1)", ""});
  CHECK(*words({"a b", "{c}", "$d"}) == Words{"a b", "{c}", "$d"});
  CHECK_FALSE(words({}));
  CHECK_FALSE(words({"", "x"}));
  CHECK_FALSE(words(Words(static_cast<std::size_t>(limits::command_words_max) + 1, "x")));
  CHECK_FALSE(command_words(any, {{command_argument, "no zero at its end"}}));
  CHECK_FALSE(command_words(any, {}));
  CHECK_FALSE(command_words(any, {{command_argument, packed_words({"x"})}, {"env", "A=b"}}));
  for (const std::string& hash : {std::string(63, 'a'), std::string(64, 'A'), std::string("../x")})
    CHECK_FALSE(
        command_words(any, {{command_argument, packed_words({"x"})}, {files_argument, hash}}));
  CHECK(files_of(any, {{files_argument, std::string(64, 'a')}}) == std::string(64, 'a'));
}

TEST_CASE("An app runs nothing until its secrets are set") {
  Config config = default_config();
  AppConfig app{.name = "count", .executor = ExecutorKind::command, .spread = Spread::device};
  app.command.words = {"/bin/true"};
  app.command.secrets = {{.name = "A", .value = ""}, {.name = "B", .value = "b"}};
  config.apps.push_back(app);
  Admission found = examine(config, {.app = "count"});
  CHECK(found.verdict == Errc::forbidden);
  CHECK(found.detail.find("are set in the configuration: A") != std::string::npos);
  config.apps.back().command.secrets[0].value = "a";
  found = examine(config, {.app = "count"});
  CHECK(found.verdict == Errc{});
}

}  // namespace gpupool
