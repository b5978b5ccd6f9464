//! What stands between the brackets of the macro.

use lrpet_runtime::built::Room;
use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Ident, LitInt, LitStr, Result, Token, Visibility};

/// `/// text` `pub struct Name = "file", ram = 64_000, whole, layers;`
pub(crate) struct Input {
    /// Attributes, visibility, `struct` and name.
    pub(crate) head: TokenStream,
    pub(crate) file: LitStr,
    pub(crate) room: Room,
    /// The file is kept as it is.
    pub(crate) whole: bool,
    /// Layer by layer, whatever schedule the file has.
    pub(crate) layers: bool,
}

impl Parse for Input {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility: Visibility = input.parse()?;
        let keyword: Token![struct] = input.parse()?;
        let name: Ident = input.parse()?;
        input.parse::<Token![=]>()?;
        let file = input.parse()?;
        let head = quote!(#(#attributes)* #visibility #keyword #name);
        let mut read = Self { head, file, room: Room::Least, whole: false, layers: false };
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() && !input.peek(Token![;]) {
            read.option(input)?;
        }
        input.parse::<Option<Token![;]>>()?;
        Ok(read)
    }
}

impl Input {
    fn option(&mut self, input: ParseStream<'_>) -> Result<()> {
        let key: Ident = input.parse()?;
        match key.to_string().as_str() {
            "ram" => self.room = room(input)?,
            "whole" => self.whole = true,
            "layers" => self.layers = true,
            _ => {
                let expected = "expected `ram = ` and bytes, `least` or `fastest`; `whole`; or `layers`";
                return Err(Error::new(key.span(), expected));
            }
        }
        Ok(())
    }
}

/// `= 64_000`, `= least`, `= fastest`.
fn room(input: ParseStream<'_>) -> Result<Room> {
    input.parse::<Token![=]>()?;
    if input.peek(LitInt) {
        return Ok(Room::Within(input.parse::<LitInt>()?.base10_parse()?));
    }
    let word: Ident = input.parse()?;
    match word.to_string().as_str() {
        "least" => Ok(Room::Least),
        "fastest" => Ok(Room::Fastest),
        _ => Err(Error::new(word.span(), "expected bytes, `least` or `fastest`")),
    }
}
