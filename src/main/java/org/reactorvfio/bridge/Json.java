package org.reactorvfio.bridge;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;

/** JSON, written and read piece by piece. */
final class Json {
  private static final JsonFactory FACTORY = new JsonFactory();

  private Json() {}

  /** Something that writes JSON. */
  interface Content {
    void write(JsonGenerator json) throws IOException;
  }

  /** The bytes of a JSON object. */
  static byte[] object(Content content) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream(256);
    try (JsonGenerator json = FACTORY.createGenerator(bytes)) {
      json.writeStartObject();
      content.write(json);
      json.writeEndObject();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return bytes.toByteArray();
  }

  /** The texts of one name, at any depth. */
  static List<String> texts(byte[] json, String name) {
    List<String> found = new ArrayList<>();
    try (JsonParser parser = FACTORY.createParser(json)) {
      while (parser.nextToken() != null) {
        if (parser.currentToken() == JsonToken.VALUE_STRING && name.equals(parser.currentName())) {
          found.add(parser.getText());
        }
      }
    } catch (IOException e) {
      throw new IllegalArgumentException("the content is no JSON");
    }
    return found;
  }

  /** The text of an object that has this field and nothing else. */
  static String onlyText(byte[] json, String name) {
    try (JsonParser parser = FACTORY.createParser(json)) {
      if (parser.nextToken() == JsonToken.START_OBJECT
          && parser.nextToken() == JsonToken.FIELD_NAME
          && name.equals(parser.currentName())
          && parser.nextToken() == JsonToken.VALUE_STRING) {
        String text = parser.getText();
        if (parser.nextToken() == JsonToken.END_OBJECT && parser.nextToken() == null) {
          return text;
        }
      }
    } catch (IOException e) {
      // Said below.
    }
    throw new IllegalArgumentException(
        "the content is {\"" + name + "\": \"...\"}, and nothing else");
  }
}
