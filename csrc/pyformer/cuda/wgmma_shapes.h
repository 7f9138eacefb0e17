// The registers of wgmma's d for each width n, n / 2 floats a thread, as asm wants them: PF_D<n> names them,
// PF_D_OPERANDS<n> gives them. Each list is the one before and four more. PF_WGMMA_SHAPES(type) is the instruction for
// whichever n a template has: PF_WGMMA(type, n, operands...), the names of the seven that may follow d's.
#pragma once

// clang-format off
#define PF_D8 "%0,%1,%2,%3"
#define PF_D_OPERANDS8 "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
#define PF_D16 PF_D8 ",%4,%5,%6,%7"
#define PF_D_OPERANDS16 PF_D_OPERANDS8, "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
#define PF_D24 PF_D16 ",%8,%9,%10,%11"
#define PF_D_OPERANDS24 PF_D_OPERANDS16, "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11])
#define PF_D32 PF_D24 ",%12,%13,%14,%15"
#define PF_D_OPERANDS32 PF_D_OPERANDS24, "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
#define PF_D40 PF_D32 ",%16,%17,%18,%19"
#define PF_D_OPERANDS40 PF_D_OPERANDS32, "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19])
#define PF_D48 PF_D40 ",%20,%21,%22,%23"
#define PF_D_OPERANDS48 PF_D_OPERANDS40, "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23])
#define PF_D56 PF_D48 ",%24,%25,%26,%27"
#define PF_D_OPERANDS56 PF_D_OPERANDS48, "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27])
#define PF_D64 PF_D56 ",%28,%29,%30,%31"
#define PF_D_OPERANDS64 PF_D_OPERANDS56, "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
#define PF_D72 PF_D64 ",%32,%33,%34,%35"
#define PF_D_OPERANDS72 PF_D_OPERANDS64, "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35])
#define PF_D80 PF_D72 ",%36,%37,%38,%39"
#define PF_D_OPERANDS80 PF_D_OPERANDS72, "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39])
#define PF_D88 PF_D80 ",%40,%41,%42,%43"
#define PF_D_OPERANDS88 PF_D_OPERANDS80, "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43])
#define PF_D96 PF_D88 ",%44,%45,%46,%47"
#define PF_D_OPERANDS96 PF_D_OPERANDS88, "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47])
#define PF_D104 PF_D96 ",%48,%49,%50,%51"
#define PF_D_OPERANDS104 PF_D_OPERANDS96, "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51])
#define PF_D112 PF_D104 ",%52,%53,%54,%55"
#define PF_D_OPERANDS112 PF_D_OPERANDS104, "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55])
#define PF_D120 PF_D112 ",%56,%57,%58,%59"
#define PF_D_OPERANDS120 PF_D_OPERANDS112, "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59])
#define PF_D128 PF_D120 ",%60,%61,%62,%63"
#define PF_D_OPERANDS128 PF_D_OPERANDS120, "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
#define PF_D136 PF_D128 ",%64,%65,%66,%67"
#define PF_D_OPERANDS136 PF_D_OPERANDS128, "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67])
#define PF_D144 PF_D136 ",%68,%69,%70,%71"
#define PF_D_OPERANDS144 PF_D_OPERANDS136, "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71])
#define PF_D152 PF_D144 ",%72,%73,%74,%75"
#define PF_D_OPERANDS152 PF_D_OPERANDS144, "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75])
#define PF_D160 PF_D152 ",%76,%77,%78,%79"
#define PF_D_OPERANDS160 PF_D_OPERANDS152, "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79])
#define PF_D168 PF_D160 ",%80,%81,%82,%83"
#define PF_D_OPERANDS168 PF_D_OPERANDS160, "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83])
#define PF_D176 PF_D168 ",%84,%85,%86,%87"
#define PF_D_OPERANDS176 PF_D_OPERANDS168, "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87])
#define PF_D184 PF_D176 ",%88,%89,%90,%91"
#define PF_D_OPERANDS184 PF_D_OPERANDS176, "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91])
#define PF_D192 PF_D184 ",%92,%93,%94,%95"
#define PF_D_OPERANDS192 PF_D_OPERANDS184, "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95])
#define PF_D200 PF_D192 ",%96,%97,%98,%99"
#define PF_D_OPERANDS200 PF_D_OPERANDS192, "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99])
#define PF_D208 PF_D200 ",%100,%101,%102,%103"
#define PF_D_OPERANDS208 PF_D_OPERANDS200, "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103])
#define PF_D216 PF_D208 ",%104,%105,%106,%107"
#define PF_D_OPERANDS216 PF_D_OPERANDS208, "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107])
#define PF_D224 PF_D216 ",%108,%109,%110,%111"
#define PF_D_OPERANDS224 PF_D_OPERANDS216, "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111])
#define PF_D232 PF_D224 ",%112,%113,%114,%115"
#define PF_D_OPERANDS232 PF_D_OPERANDS224, "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115])
#define PF_D240 PF_D232 ",%116,%117,%118,%119"
#define PF_D_OPERANDS240 PF_D_OPERANDS232, "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119])
#define PF_D248 PF_D240 ",%120,%121,%122,%123"
#define PF_D_OPERANDS248 PF_D_OPERANDS240, "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123])
#define PF_D256 PF_D248 ",%124,%125,%126,%127"
#define PF_D_OPERANDS256 PF_D_OPERANDS248, "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])

#define PF_WGMMA_WIDTH(type, N, ...) if constexpr (n == N) PF_WGMMA(type, N, __VA_ARGS__)

#define PF_WGMMA_SHAPES(type) \
  PF_WGMMA_WIDTH(type, 8, "%4", "%5", "%6", "%7", "%8", "%9", "%10"); \
  PF_WGMMA_WIDTH(type, 16, "%8", "%9", "%10", "%11", "%12", "%13", "%14"); \
  PF_WGMMA_WIDTH(type, 24, "%12", "%13", "%14", "%15", "%16", "%17", "%18"); \
  PF_WGMMA_WIDTH(type, 32, "%16", "%17", "%18", "%19", "%20", "%21", "%22"); \
  PF_WGMMA_WIDTH(type, 40, "%20", "%21", "%22", "%23", "%24", "%25", "%26"); \
  PF_WGMMA_WIDTH(type, 48, "%24", "%25", "%26", "%27", "%28", "%29", "%30"); \
  PF_WGMMA_WIDTH(type, 56, "%28", "%29", "%30", "%31", "%32", "%33", "%34"); \
  PF_WGMMA_WIDTH(type, 64, "%32", "%33", "%34", "%35", "%36", "%37", "%38"); \
  PF_WGMMA_WIDTH(type, 72, "%36", "%37", "%38", "%39", "%40", "%41", "%42"); \
  PF_WGMMA_WIDTH(type, 80, "%40", "%41", "%42", "%43", "%44", "%45", "%46"); \
  PF_WGMMA_WIDTH(type, 88, "%44", "%45", "%46", "%47", "%48", "%49", "%50"); \
  PF_WGMMA_WIDTH(type, 96, "%48", "%49", "%50", "%51", "%52", "%53", "%54"); \
  PF_WGMMA_WIDTH(type, 104, "%52", "%53", "%54", "%55", "%56", "%57", "%58"); \
  PF_WGMMA_WIDTH(type, 112, "%56", "%57", "%58", "%59", "%60", "%61", "%62"); \
  PF_WGMMA_WIDTH(type, 120, "%60", "%61", "%62", "%63", "%64", "%65", "%66"); \
  PF_WGMMA_WIDTH(type, 128, "%64", "%65", "%66", "%67", "%68", "%69", "%70"); \
  PF_WGMMA_WIDTH(type, 136, "%68", "%69", "%70", "%71", "%72", "%73", "%74"); \
  PF_WGMMA_WIDTH(type, 144, "%72", "%73", "%74", "%75", "%76", "%77", "%78"); \
  PF_WGMMA_WIDTH(type, 152, "%76", "%77", "%78", "%79", "%80", "%81", "%82"); \
  PF_WGMMA_WIDTH(type, 160, "%80", "%81", "%82", "%83", "%84", "%85", "%86"); \
  PF_WGMMA_WIDTH(type, 168, "%84", "%85", "%86", "%87", "%88", "%89", "%90"); \
  PF_WGMMA_WIDTH(type, 176, "%88", "%89", "%90", "%91", "%92", "%93", "%94"); \
  PF_WGMMA_WIDTH(type, 184, "%92", "%93", "%94", "%95", "%96", "%97", "%98"); \
  PF_WGMMA_WIDTH(type, 192, "%96", "%97", "%98", "%99", "%100", "%101", "%102"); \
  PF_WGMMA_WIDTH(type, 200, "%100", "%101", "%102", "%103", "%104", "%105", "%106"); \
  PF_WGMMA_WIDTH(type, 208, "%104", "%105", "%106", "%107", "%108", "%109", "%110"); \
  PF_WGMMA_WIDTH(type, 216, "%108", "%109", "%110", "%111", "%112", "%113", "%114"); \
  PF_WGMMA_WIDTH(type, 224, "%112", "%113", "%114", "%115", "%116", "%117", "%118"); \
  PF_WGMMA_WIDTH(type, 232, "%116", "%117", "%118", "%119", "%120", "%121", "%122"); \
  PF_WGMMA_WIDTH(type, 240, "%120", "%121", "%122", "%123", "%124", "%125", "%126"); \
  PF_WGMMA_WIDTH(type, 248, "%124", "%125", "%126", "%127", "%128", "%129", "%130"); \
  PF_WGMMA_WIDTH(type, 256, "%128", "%129", "%130", "%131", "%132", "%133", "%134");
// clang-format on
