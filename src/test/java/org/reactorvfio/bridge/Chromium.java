package org.reactorvfio.bridge;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import io.netty.handler.codec.http.websocketx.TextWebSocketFrame;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
import reactor.core.scheduler.Schedulers;
import reactor.netty.http.client.HttpClient;
import reactor.netty.http.client.WebsocketClientSpec;

/** A headless Chromium, spoken to by the DevTools protocol. Everything it is asked is answered in time or fails. */
final class Chromium implements AutoCloseable {
  private static final Duration LIMIT = Duration.ofSeconds(60);
  private static final String LISTENS = "DevTools listening on ";

  private final Process process;
  private final Path profile;
  private final Sinks.Many<String> commands = Sinks.many().unicast().onBackpressureBuffer();
  private final Map<Integer, Sinks.One<Map<String, Object>>> answers = new ConcurrentHashMap<>();
  private final Map<String, Tab> tabs = new ConcurrentHashMap<>();
  private final AtomicInteger ids = new AtomicInteger();

  /** The program of Debian's packages chromium or chromium-headless-shell, if one is installed. */
  static Optional<Path> installed() {
    return Stream.of("chromium", "chromium-headless-shell")
        .flatMap(name -> Arrays.stream(System.getenv("PATH").split(":"))
            .map(directory -> Path.of(directory, name)))
        .filter(Files::isExecutable)
        .findFirst();
  }

  Chromium(Path program) throws IOException {
    profile = Files.createTempDirectory("chromium");
    process = new ProcessBuilder(
            program.toString(),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
            "--disable-sync",
            "--no-first-run",
            "--no-default-browser-check",
            "--hide-scrollbars",
            "--remote-debugging-address=127.0.0.1",
            "--remote-debugging-port=0",
            "--user-data-dir=" + profile,
            "about:blank")
        .redirectOutput(ProcessBuilder.Redirect.DISCARD)
        .start();
    try {
      connect(address());
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  /** What it says goes on being read, so that it can go on saying something. */
  private String address() {
    Sinks.One<String> address = Sinks.one();
    List<String> said = new ArrayList<>();
    Mono.fromRunnable(() -> {
          try (BufferedReader lines = process.errorReader(StandardCharsets.UTF_8)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
              if (line.startsWith(LISTENS)) {
                address.tryEmitValue(line.substring(LISTENS.length()).trim());
              } else if (said.size() < 20) {
                said.add(line);
              }
            }
          } catch (IOException e) {
            said.add(e.toString());
          }
          address.tryEmitError(new IllegalStateException("Chromium ended: " + said));
        })
        .subscribeOn(Schedulers.boundedElastic())
        .subscribe();
    return address.asMono().block(LIMIT);
  }

  private void connect(String address) {
    Sinks.Empty<Void> connected = Sinks.empty();
    HttpClient.newConnection()
        .websocket(WebsocketClientSpec.builder().maxFramePayloadLength(64 << 20).build())
        .uri(address)
        .handle((in, out) -> {
          connected.tryEmitEmpty();
          Mono<Void> read = in.aggregateFrames(64 << 20)
              .receiveFrames()
              .map(frame -> frame.content().toString(StandardCharsets.UTF_8))
              .doOnNext(this::received)
              .then();
          Mono<Void> written = out.sendObject(
                  commands.asFlux().map(TextWebSocketFrame::new), any -> true)
              .then();
          return Mono.firstWithSignal(read, written);
        })
        .subscribe(null, connected::tryEmitError);
    connected.asMono().block(LIMIT);
  }

  private void received(String text) {
    Map<String, Object> message = object(parse(text));
    if (message.get("id") instanceof Number id) {
      Sinks.One<Map<String, Object>> answer = answers.remove(id.intValue());
      if (answer != null) {
        answer.tryEmitValue(message);
      }
    } else if (message.get("sessionId") instanceof String session && tabs.containsKey(session)) {
      tabs.get(session)
          .happened(String.valueOf(message.get("method")), object(message.get("params")));
    }
  }

  private Map<String, Object> ask(String session, String method, Map<String, ?> parameters) {
    int id = ids.incrementAndGet();
    Sinks.One<Map<String, Object>> answer = Sinks.one();
    answers.put(id, answer);
    Map<String, Object> message = new LinkedHashMap<>();
    message.put("id", id);
    message.put("method", method);
    message.put("params", parameters);
    if (session != null) {
      message.put("sessionId", session);
    }
    commands.tryEmitNext(write(message));
    Map<String, Object> answered = answer.asMono().block(LIMIT);
    assertThat(answered).as("the answer to %s", method).doesNotContainKey("error");
    return object(answered.get("result"));
  }

  /** Opens a page of its own profile. */
  Tab open(String address) {
    Object context = ask(null, "Target.createBrowserContext", Map.of()).get("browserContextId");
    Object target = ask(
            null, "Target.createTarget", Map.of("url", "about:blank", "browserContextId", context))
        .get("targetId");
    String session = String.valueOf(
        ask(null, "Target.attachToTarget", Map.of("targetId", target, "flatten", true))
            .get("sessionId"));
    Tab tab = new Tab(session);
    tabs.put(session, tab);
    for (String domain : List.of("Page", "Runtime", "Network", "Log", "Audits")) {
      tab.ask(domain + ".enable", Map.of());
    }
    tab.load("Page.navigate", Map.of("url", address));
    return tab;
  }

  @Override
  public void close() throws IOException {
    List<ProcessHandle> all = new ArrayList<>(process.descendants().toList());
    all.add(process.toHandle());
    all.forEach(ProcessHandle::destroyForcibly);
    Flux.fromIterable(all)
        .flatMap(each -> Mono.fromFuture(each.onExit()))
        .then()
        .onErrorComplete()
        .block(LIMIT);
    try {
      process.waitFor(LIMIT.toSeconds(), TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    delete(profile);
  }

  private static void delete(Path directory) throws IOException {
    try (Stream<Path> files = Files.walk(directory)) {
      for (Path each : files.sorted((a, b) -> b.compareTo(a)).toList()) {
        Files.deleteIfExists(each);
      }
    }
  }

  /** A page, and what went on in it. */
  final class Tab {
    private final String session;

    /** Errors and warnings that the page, or the browser about the page, wrote to the console. */
    final ConcurrentLinkedQueue<String> complaints = new ConcurrentLinkedQueue<>();

    /** What was asked of any server. */
    final ConcurrentLinkedQueue<String> requests = new ConcurrentLinkedQueue<>();

    private volatile Sinks.Empty<Void> loaded = Sinks.empty();

    private Tab(String session) {
      this.session = session;
    }

    Map<String, Object> ask(String method, Map<String, ?> parameters) {
      return Chromium.this.ask(session, method, parameters);
    }

    /** Does something that loads the page, and waits until it is there. */
    void load(String method, Map<String, ?> parameters) {
      loaded = Sinks.empty();
      ask(method, parameters);
      loaded.asMono().block(LIMIT);
    }

    private void happened(String method, Map<String, Object> event) {
      switch (method) {
        case "Page.loadEventFired" -> loaded.tryEmitEmpty();
        case "Runtime.exceptionThrown" -> complaints.add(event.toString());
        case "Audits.issueAdded" -> {
          // A script's click is not a user's: the browser means to skip it on the way back.
          if (!event.toString().contains("NavigationEntryMarkedSkippable")) {
            complaints.add(event.toString());
          }
        }
        case "Runtime.consoleAPICalled" -> {
          if (List.of("error", "warning", "assert").contains(event.get("type"))) {
            complaints.add(event.toString());
          }
        }
        case "Log.entryAdded" -> {
          if (List.of("error", "warning").contains(object(event.get("entry")).get("level"))) {
            complaints.add(event.toString());
          }
        }
        case "Network.requestWillBeSent" ->
          requests.add(String.valueOf(object(event.get("request")).get("url")));
        default -> {
          // Nothing that matters here.
        }
      }
    }

    /** The value of an expression, or of its promise. */
    Object evaluate(String expression) {
      Map<String, Object> answer = ask(
          "Runtime.evaluate",
          Map.of("expression", expression, "awaitPromise", true, "returnByValue", true));
      assertThat(answer).as(expression).doesNotContainKey("exceptionDetails");
      return object(answer.get("result")).get("value");
    }

    String text(String expression) {
      return String.valueOf(evaluate(expression));
    }

    /** Waits until an expression has a value that counts as true. */
    void await(String expression) {
      evaluate("new Promise((done, fail) => { const end = performance.now() + 40000;"
          + " (function look() { if (" + expression + ") done(true);"
          + " else if (performance.now() > end) fail(new Error('in vain; the page shows: ' + document.body.innerText));"
          + " else setTimeout(look, 100); })(); })");
    }

    void size(int width, int height) {
      ask(
          "Emulation.setDeviceMetricsOverride",
          Map.of("width", width, "height", height, "deviceScaleFactor", 1, "mobile", false));
    }

    void prefer(String scheme) {
      ask(
          "Emulation.setEmulatedMedia",
          Map.of("features", List.of(Map.of("name", "prefers-color-scheme", "value", scheme))));
    }

    /** Keeps what is to be seen, from top to bottom. */
    void keep(Path file) throws IOException {
      Map<String, Object> size =
          object(ask("Page.getLayoutMetrics", Map.of()).get("cssContentSize"));
      Object data = ask(
              "Page.captureScreenshot",
              Map.of(
                  "format",
                  "png",
                  "captureBeyondViewport",
                  true,
                  "clip",
                  Map.of(
                      "x",
                      0,
                      "y",
                      0,
                      "width",
                      size.get("width"),
                      "height",
                      size.get("height"),
                      "scale",
                      1)))
          .get("data");
      Files.createDirectories(file.getParent());
      Files.write(file, Base64.getDecoder().decode(String.valueOf(data)));
    }
  }

  // ---- JSON as maps, lists, texts, numbers and flags

  private static final JsonFactory JSON = new JsonFactory();

  static Object parse(String text) {
    try (JsonParser parser = JSON.createParser(text)) {
      parser.nextToken();
      return value(parser);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static Object value(JsonParser parser) throws IOException {
    switch (parser.currentToken()) {
      case START_OBJECT -> {
        Map<String, Object> members = new LinkedHashMap<>();
        while (parser.nextToken() != JsonToken.END_OBJECT) {
          String name = parser.currentName();
          parser.nextToken();
          members.put(name, value(parser));
        }
        return members;
      }
      case START_ARRAY -> {
        List<Object> elements = new ArrayList<>();
        while (parser.nextToken() != JsonToken.END_ARRAY) {
          elements.add(value(parser));
        }
        return elements;
      }
      case VALUE_NUMBER_INT, VALUE_NUMBER_FLOAT -> {
        return parser.getNumberValue();
      }
      case VALUE_TRUE, VALUE_FALSE -> {
        return parser.getBooleanValue();
      }
      case VALUE_NULL -> {
        return null;
      }
      default -> {
        return parser.getText();
      }
    }
  }

  @SuppressWarnings("unchecked")
  static Map<String, Object> object(Object value) {
    return (Map<String, Object>) value;
  }

  private static String write(Object value) {
    StringWriter text = new StringWriter();
    try (JsonGenerator json = JSON.createGenerator(text)) {
      write(json, value);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return text.toString();
  }

  private static void write(JsonGenerator json, Object value) throws IOException {
    if (value instanceof Map<?, ?> members) {
      json.writeStartObject();
      for (Map.Entry<?, ?> member : members.entrySet()) {
        json.writeFieldName(String.valueOf(member.getKey()));
        write(json, member.getValue());
      }
      json.writeEndObject();
    } else if (value instanceof List<?> elements) {
      json.writeStartArray();
      for (Object element : elements) {
        write(json, element);
      }
      json.writeEndArray();
    } else if (value instanceof Boolean flag) {
      json.writeBoolean(flag);
    } else if (value instanceof Number number) {
      json.writeNumber(String.valueOf(number));
    } else {
      json.writeString(String.valueOf(value));
    }
  }
}
