// What operators ask of the console through their sessions. Who may is the console's to say.
#include "actors/session/request_shape.h"
#include "actors/session/session.h"

namespace gpupool {

void Session::on(const ClientOperate& operate) {
  if (!may_ask(operate)) return;
  if (const Status shape = check_words(operate.words); !shape)
    return answer_error(operate.query, shape.error());
  const std::uint64_t number = remember(ClientOperate{.query = operate.query, .words = {}});
  out_.to(to_console(),
          ToConsole{
              Operate{.session = id_, .query = number, .caller = caller_, .words = operate.words}});
}

void Session::on(const ClientOverview& overview) {
  if (!may_ask(overview)) return;
  const std::uint64_t number = remember(overview);
  out_.to(to_console(),
          ToConsole{OverviewQuery{.session = id_, .query = number, .caller = caller_}});
}

void Session::on(const Operated& operated) {
  const auto operate = take<ClientOperate>(operated.answer.query);
  if (!operate) return;
  if (operated.error != Errc{})
    return answer_error(operate->query, {.code = operated.error,
                                         .want = operated.want,
                                         .have = operated.have,
                                         .detail = operated.detail});
  tell_client(OperateAnswer{.query = operate->query, .table = operated.answer.table});
}

void Session::on(const OverviewFound& found) {
  const auto asked = take<ClientOverview>(found.query);
  if (!asked) return;
  if (found.error != Errc{})
    return answer_error(asked->query, {.code = found.error, .detail = found.detail});
  tell_client(OverviewAnswer{.query = asked->query, .overview = found.overview});
}

}  // namespace gpupool
