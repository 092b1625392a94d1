package ast

// The functions that a policy could call. They are named only to be listed.
var (
	Abs, AddDate, All, And, Any, AnyPrefixMatch, AnySuffixMatch, ArrayConcat, ArrayFlatten, ArrayReverse, ArraySlice,
	Assign, Base64Decode, Base64Encode, Base64IsValid, Base64UrlDecode, Base64UrlEncode, Base64UrlEncodeNoPad,
	BitsAnd, BitsNegate, BitsOr, BitsShiftLeft, BitsShiftRight, BitsXOr, CastArray, CastBoolean, CastNull,
	CastObject, CastSet, CastString, Ceil, Clock, Concat, Contains, Count, Date, Diff, Divide, EndsWith, Equal,
	Equality, Floor, Format, FormatInt, GlobMatch, GlobQuoteMeta, GlobsMatch, GreaterThan, GreaterThanEq, HexDecode,
	HexEncode, IndexOf, IndexOfN, InternalPrint, InternalTemplateString, Intersection, IsArray, IsBoolean, IsNull,
	IsNumber, IsObject, IsSet, IsString, JSONFilter, JSONIsValid, JSONMarshal, JSONMarshalWithOptions, JSONPatch,
	JSONRemove, JSONUnmarshal, LessThan, LessThanEq, Lower, Max, Member, MemberWithKey, Min, Minus, Multiply,
	NotEqual, NowNanos, NumbersRange, NumbersRangeStep, ObjectFilter, ObjectGet, ObjectKeys, ObjectRemove,
	ObjectSubset, ObjectUnion, ObjectUnionN, Or, ParseDurationNanos, ParseNanos, ParseRFC3339Nanos, Plus, Print,
	Product, RandIntn, RegexFind, RegexFindAllStringSubmatch, RegexIsValid, RegexMatch, RegexMatchDeprecated,
	RegexReplace, RegexSplit, RegexTemplateMatch, Rem, RenderTemplate, Replace, ReplaceN, Round, SemVerCompare,
	SemVerIsValid, SetDiff, Sort, Split, Sprintf, StartsWith, StringCount, StringReverse, Substring, Sum, ToNumber,
	Trim, TrimLeft, TrimPrefix, TrimRight, TrimSpace, TrimSuffix, TypeNameBuiltin, URLQueryDecode,
	URLQueryDecodeObject, URLQueryEncode, URLQueryEncodeObject, UUIDParse, UUIDRFC4122, Union, UnitsParse,
	UnitsParseBytes, Upper, Weekday, YAMLIsValid, YAMLMarshal, YAMLUnmarshal *Builtin
)
