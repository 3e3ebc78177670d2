//! The key-values of a log line.

use log::kv::{Error, Key, Source, Value, VisitSource, VisitValue};

/// The fields that have a value: `reason = None` is no field at all.
pub(super) struct WithoutNulls<'a>(pub &'a dyn Source);

impl Source for WithoutNulls<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), Error> {
        self.0.visit(&mut SkipNulls(visitor))
    }
}

struct SkipNulls<'v, 'kvs>(&'v mut dyn VisitSource<'kvs>);

impl<'kvs> VisitSource<'kvs> for SkipNulls<'_, 'kvs> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        if is_null(&value)? { Ok(()) } else { self.0.visit_pair(key, value) }
    }
}

fn is_null(value: &Value<'_>) -> Result<bool, Error> {
    let mut found = NullFinder(false);
    value.visit(&mut found)?;
    Ok(found.0)
}

struct NullFinder(bool);

impl<'v> VisitValue<'v> for NullFinder {
    fn visit_any(&mut self, _: Value<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        self.0 = true;
        Ok(())
    }
}

/// Calls a function with every pair.
pub(super) struct ForEach<F>(pub F);

impl<'kvs, F: FnMut(Key<'kvs>, Value<'kvs>) -> Result<(), Error>> VisitSource<'kvs> for ForEach<F> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        (self.0)(key, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fields_with_a_value_are_left() {
        let (reason, nothing): (Option<&str>, Option<u32>) = (Some("timeout"), None);
        let fields = [("reason", Value::from(reason.unwrap())), ("page", Value::null()), ("zero", Value::from(0))];
        assert!(nothing.is_none());
        let mut seen = Vec::new();
        let mut collect = ForEach(|key: Key<'_>, value: Value<'_>| {
            seen.push(format!("{key}={value}"));
            Ok(())
        });
        WithoutNulls(&fields.as_slice()).visit(&mut collect).unwrap();
        assert_eq!(seen, ["reason=timeout", "zero=0"]);
    }
}
