//! The JSON of etcd's gateway: bytes in base64, 64-bit integers as text, enums by name, nothing for zero.

/// Whether a field is left out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The body of an error answer, as grpc-gateway writes it.
pub fn encode_error(code: crate::Code, message: &str) -> ErrorBody {
    ErrorBody { error: message.to_owned(), message: message.to_owned(), code: code as i32 }
}

/// `{"error": …, "message": …, "code": …}`
#[derive(Clone, Debug, serde::Serialize)]
pub struct ErrorBody {
    error: String,
    message: String,
    code: i32,
}

pub(crate) mod base64 {
    use ::base64::Engine;
    use ::base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom)
    }
}

pub(crate) mod base64_option {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize, Serialize)]
    struct Wrapped(#[serde(with = "super::base64")] Bytes);

    pub(crate) fn serialize<S: Serializer>(value: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        value.clone().map(Wrapped).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|w| w.0))
    }
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Number {
    Signed(i64),
    Unsigned(u64),
    Text(String),
}

macro_rules! integer {
    ($module:ident, $type:ty) => {
        pub(crate) mod $module {
            use serde::{Deserialize, Deserializer, Serializer};

            use super::Number;

            pub(crate) fn serialize<S: Serializer>(value: &$type, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(value)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let custom = |e: &dyn std::fmt::Display| <D::Error as serde::de::Error>::custom(e);
                match Option::<Number>::deserialize(deserializer)? {
                    None => Ok(0),
                    Some(Number::Signed(n)) => <$type>::try_from(n).map_err(|e| custom(&e)),
                    Some(Number::Unsigned(n)) => <$type>::try_from(n).map_err(|e| custom(&e)),
                    Some(Number::Text(text)) => text.parse().map_err(|e| custom(&e)),
                }
            }
        }
    };
}

integer!(integer, i64);
integer!(unsigned, u64);

pub(crate) mod integer_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize, Serialize)]
    struct Wrapped(#[serde(with = "super::integer")] i64);

    pub(crate) fn serialize<S: Serializer>(value: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Wrapped).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
        Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|w| w.0))
    }
}

/// An enum's field: by name, or by number as protobuf's JSON also allows.
macro_rules! named_enum {
    ($module:ident, $enum:ident { $($variant:ident = $name:literal),+ }) => {
        mod $module {
            use serde::{Deserialize, Deserializer, Serializer};

            use super::$enum;

            #[derive(Deserialize)]
            #[serde(untagged)]
            enum Named {
                Number(i32),
                Name(String),
            }

            pub(super) fn serialize<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
                match $enum::try_from(*value) {
                    $(Ok($enum::$variant) => serializer.serialize_str($name),)+
                    Err(_) => serializer.serialize_i32(*value),
                }
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
                match Named::deserialize(deserializer)? {
                    Named::Number(number) => Ok(number),
                    Named::Name(name) => match name.as_str() {
                        $($name => Ok($enum::$variant as i32),)+
                        _ => Err(serde::de::Error::custom(format!("unknown value {name:?} for {}", stringify!($enum)))),
                    },
                }
            }
        }
    };
}
pub(crate) use named_enum;
