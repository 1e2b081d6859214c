package org.reactorvfio.bridge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.reactivestreams.Subscription;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Vectors;
import reactor.core.Disposable;
import reactor.core.Disposables;
import reactor.core.publisher.BaseSubscriber;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Sinks;
import reactor.core.scheduler.Scheduler;
import reactor.core.scheduler.Schedulers;

/**
 * The page in a real browser: Debian's package chromium. What it looks like is kept in {@code target/screenshots}.
 */
@Timeout(240)
class PageTest {
  private static final Duration LIMIT = Duration.ofSeconds(30);
  private static final String TOKEN = "token-of-this-test";
  private static final Path SCREENSHOTS = Path.of("target", "screenshots");

  private static Chromium chromium;

  private final Disposable.Composite others = Disposables.composite();
  private VfioDevice owned;
  private VfioBridge bridge;
  private Chromium.Tab page;

  @BeforeAll
  static void start() throws IOException {
    Optional<Path> program = Chromium.installed();
    if (!"true".equals(System.getenv("CI"))) {
      assumeThat(program)
          .as("no Chromium to show the page in: apt-get install chromium")
          .isPresent();
    }
    chromium = new Chromium(program.orElseThrow(
        () -> new AssertionError("continuous integration needs Debian's package chromium")));
  }

  @AfterAll
  static void stop() throws IOException {
    if (chromium != null) {
      chromium.close();
    }
  }

  @AfterEach
  void close() {
    others.dispose();
    if (bridge != null) {
      bridge.close().block(LIMIT);
    }
    if (owned != null) {
      owned.close().block(LIMIT);
    }
  }

  private static EmulatedDevice.Builder nic() {
    return EmulatedDevice.builder(0x1234, 0x5678)
        .name("nic")
        .subsystem(0x1af4, 0x1100)
        .classCode(0x020000, 3)
        .pciExpress()
        .resettable(() -> {})
        .memoryBar(0, 16384)
        .memoryBar(2, 1 << 20)
        .intx();
  }

  private VfioDevice open(EmulatedDevice hardware) {
    VfioDevice device = Vfio.open(hardware).block(LIMIT);
    device.config().enableBusMaster().block(LIMIT);
    return device;
  }

  private VfioBridge serve(int port, VfioDevice... devices) {
    VfioBridge.Builder builder = VfioBridge.builder()
        .listen("127.0.0.1", port)
        .token(TOKEN, Permission.READ_CONFIG, Permission.TRIGGER);
    for (VfioDevice device : devices) {
      builder.export(device, Permission.READ_CONFIG, Permission.TRIGGER);
    }
    return builder.start().block(LIMIT);
  }

  private String address() {
    return bridge.uri() + "/#token=" + TOKEN + "&device=nic";
  }

  private static String number(long n) {
    return String.format(Locale.ROOT, "%,d", n);
  }

  /**
   * Waits until the table says this of a vector: total, rate, state, waiting, behind, subscribers, demand, by whom it was armed, or as
   * many of that as are given.
   */
  private void awaitRow(String vector, String... cells) {
    page.await("[...document.querySelectorAll('#vectors tr')]"
        + ".filter(row => row.cells[0].textContent === '" + vector + "')"
        + ".some(row => [...row.cells].slice(1).map(cell => cell.textContent + ';').join('')"
        + ".startsWith('" + String.join(";", cells) + ";'))");
  }

  private static void raise(EmulatedDevice hardware, AtomicLongArray raised, int vector, int n) {
    for (int i = 0; i < n; i++) {
      hardware.raiseMsix(vector);
    }
    raised.addAndGet(vector, n);
  }

  private static long sum(AtomicLongArray numbers) {
    long sum = 0;
    for (int i = 0; i < numbers.length(); i++) {
      sum += numbers.get(i);
    }
    return sum;
  }

  private void checkAccessibility() throws IOException {
    String script;
    try (InputStream in = PageTest.class.getResourceAsStream("accessibility.js")) {
      script = new String(in.readAllBytes(), StandardCharsets.UTF_8);
    }
    assertThat((List<?>) page.evaluate(script))
        .as("what keeps people from using the page")
        .isEmpty();
  }

  private void choose(String select, String value) {
    page.evaluate("document.querySelector('" + select + "').value = '" + value
        + "'; document.querySelector('" + select + "').dispatchEvent(new Event('change'))");
  }

  @Test
  void showsExactCountsUnderLoad() throws IOException {
    EmulatedDevice hardware = nic().msix(8).build();
    owned = open(hardware);
    VfioDevice idle =
        Vfio.open(EmulatedDevice.builder(0x10de, 0x1).name("idle").build()).block(LIMIT);
    others.add(() -> idle.close().block(LIMIT));
    bridge = serve(0, owned, idle);
    Vectors msix = owned.interrupts().msix();
    msix.enable(7).block(LIMIT);
    AtomicLong received = new AtomicLong();
    for (int vector = 0; vector < 4; vector++) {
      others.add(msix.vector(vector).subscribe(i -> received.addAndGet(i.count())));
    }
    BaseSubscriber<Interrupt> slow = new BaseSubscriber<>() {
      @Override
      protected void hookOnSubscribe(Subscription subscription) {
        subscription.request(2);
      }
    };
    msix.vector(4).subscribe(slow);
    others.add(slow);
    VfioDevice far =
        Vfio.open(Vfio.remote(bridge.uri()).withToken(TOKEN).device("nic")).block(LIMIT);
    others.add(() -> far.close().block(LIMIT));
    far.interrupts().msix().enable(2).block(LIMIT);
    others.add(far.interrupts().msix().vector(0).subscribe());

    // 23,000 signals a second; nobody takes those of vector 5.
    AtomicLongArray raised = new AtomicLongArray(8);
    int[] each = {10, 6, 3, 1, 1, 2};
    AtomicBoolean enough = new AtomicBoolean();
    Sinks.Empty<Void> rest = Sinks.empty();
    Scheduler loads = Schedulers.newSingle("load", true);
    others.add(loads);
    others.add(Flux.interval(Duration.ofMillis(1), loads)
        .onBackpressureDrop()
        .doOnNext(tick -> {
          for (int vector = 0; vector < each.length; vector++) {
            int swing = vector < 2 ? (int) (4 * Math.sin(tick / 300.0 + vector * 2)) : 0;
            raise(hardware, raised, vector, each[vector] + swing);
          }
        })
        .takeUntil(tick -> enough.get())
        .subscribe(null, rest::tryEmitError, rest::tryEmitEmpty));

    page = chromium.open("about:blank");
    page.size(1280, 900);
    page.prefer("light");
    page.load("Page.navigate", Map.of("url", address()));
    page.await("document.querySelectorAll('#vectors tr').length === 8");
    assertThat(page.text("location.href")).isEqualTo(bridge.uri() + "/#device=nic");
    page.await("document.querySelectorAll('#chart path').length === 6");
    // One second of a load that swings between 6,000 and 14,000.
    String rate =
        "+document.querySelector('#vectors td:nth-child(3)').textContent.replace(',', '')";
    page.await(rate + " > 3000");
    assertThat(Double.parseDouble(page.text(rate))).isLessThan(30_000);
    page.await("document.querySelector('#chart .s0').getAttribute('d').split('L').length > 3");
    for (String theme : List.of("light", "dark")) {
      page.prefer(theme);
      page.size(1280, 900);
      page.await("document.querySelector('#chart').clientWidth > 360");
      page.keep(SCREENSHOTS.resolve("device-" + theme + ".png"));
      checkAccessibility();
      page.size(360, 740);
      page.await("document.querySelector('#chart').clientWidth < 360");
      assertThat(page.text("document.documentElement.scrollWidth")).isEqualTo("360");
      page.keep(SCREENSHOTS.resolve("device-" + theme + "-360.png"));
      checkAccessibility();
    }

    enough.set(true);
    rest.asMono().block(LIMIT);
    for (int vector = 0; vector < each.length; vector++) {
      awaitRow("MSI-X " + vector, number(raised.get(vector)));
    }
    page.await("document.querySelector('#rate').textContent === '0'");
    assertThat(page.text("document.querySelector('#total').textContent"))
        .isEqualTo(number(sum(raised)));
    assertThat(received.get())
        .isEqualTo(raised.get(0) + raised.get(1) + raised.get(2) + raised.get(3));
    String total = number(raised.get(0));
    awaitRow("MSI-X 0", total, "0", "taken", "0", "0", "2", "unbounded", "the owner");
    page.await("document.querySelector('#streams tr').innerText.replace(/\\s*\\t/g, ';')"
        + " === 'client 1, MSI-X 0;connected;shared with the owner;" + total + ";1'");
    total = number(raised.get(5));
    awaitRow("MSI-X 5", total, "0", "parked", total, "0", "0", "none", "the owner");
    awaitRow("MSI-X 4", number(raised.get(4)), "0", "parked");
    awaitRow("MSI-X 6", "0", "0", "parked");
    // The library waits for the kernel's request, here and there.
    awaitRow("REQ", "0", "0", "taken", "0", "0", "2", "unbounded", "the owner");
    page.await("document.querySelector('#sessions').textContent"
        + " === '1 client; 3 streams, 2 with demand.'");

    // Watching has taken nothing: who asks now gets all that nobody has had.
    AtomicLong late = new AtomicLong();
    others.add(msix.vector(5).subscribe(i -> late.addAndGet(i.count())));
    awaitRow("MSI-X 5", total, "0", "taken", "0", "0", "1", "unbounded");
    assertThat(late.get()).isEqualTo(raised.get(5));

    assertThat(page.text("document.querySelector('#config').textContent"))
        .contains("0x1234", "0x5678", "Network controller", "PCI Express", "MSI-X", "1 MiB");
    assertThat(page.text("document.querySelector('#bytes').textContent"))
        .startsWith("000: 34 12 78 56 ");
    assertThat(page.text(
            "document.querySelector('#header .set[aria-label=\"Bus master: set\"]')" + " !== null"))
        .isEqualTo("true");

    page.evaluate("document.querySelector('#devices a').click()");
    page.await("document.querySelector('#name').textContent === 'idle'");
    awaitRow("REQ", "0");
    assertThat(page.complaints).isEmpty();
    assertThat(page.requests).allSatisfy(url -> assertThat(url).startsWith(bridge.uri() + "/"));
  }

  @Test
  void showsThousandsOfVectors() throws IOException {
    EmulatedDevice hardware = nic().msix(2048).build();
    owned = open(hardware);
    bridge = serve(0, owned);
    owned.interrupts().msix().enable(2048).block(LIMIT);
    others.add(owned.interrupts().msix().all().subscribe());
    for (int vector = 0; vector < 5; vector++) {
      hardware.raiseMsix(vector * 500);
    }
    page = chromium.open(address());
    page.size(1280, 900);
    page.await("document.querySelectorAll('#vectors tr').length === 5");
    assertThat(page.text("document.querySelector('#quiet-text').textContent"))
        .isEqualTo("Show 2,044 vectors without signals");
    page.keep(SCREENSHOTS.resolve("many-vectors.png"));
    page.evaluate("document.querySelector('#quiet').click()");
    page.await("document.querySelectorAll('#vectors tr').length === 256");
    page.evaluate("document.querySelector('#more').click()");
    page.await("document.querySelectorAll('#vectors tr').length === 1024");
    page.evaluate("document.querySelector('#more').click()");
    page.await("document.querySelectorAll('#vectors tr').length === 2049");
    for (int vector = 0; vector < 2048; vector++) {
      hardware.raiseMsix(vector);
    }
    awaitRow("MSI-X 2047", "1");
    awaitRow("MSI-X 2000", "2");
    assertThat(page.text("document.querySelector('#total').textContent")).isEqualTo("2,053");
    owned.interrupts().msix().disarm(0).block(LIMIT);
    page.await("document.querySelectorAll('#vectors tr').length === 2048");
    for (int i = 0; i < 100_000; i++) {
      hardware.raiseMsix(1234);
    }
    choose("#order", "rate");
    page.await("document.querySelector('#vectors th').textContent === 'MSI-X 1234'");
    awaitRow("MSI-X 1234", "100,001");
    assertThat(page.complaints).isEmpty();
  }

  @Test
  void asksForATokenAndForgetsIt() throws IOException {
    owned = open(nic().msix(4).build());
    bridge = serve(0, owned);
    page = chromium.open(bridge.uri() + "/#token=not%20a%20token%20of%20this");
    page.await("document.querySelector('#door-problem').textContent === 'That cannot be a token.'");
    assertThat(page.text("location.href")).isEqualTo(bridge.uri() + "/");
    page.size(360, 740);
    enter("not-the-right-token");
    page.await("document.querySelector('#door-problem').textContent.includes('does not know')");
    assertThat(page.text("document.activeElement.id")).isEqualTo("token");
    page.keep(SCREENSHOTS.resolve("sign-in-360.png"));
    checkAccessibility();
    enter(TOKEN);
    page.await("document.querySelector('#status').textContent === 'Live'");
    page.await("document.querySelector('#name').textContent === 'nic'");
    assertThat(page.text("sessionStorage.getItem('token')")).isEqualTo(TOKEN);
    assertThat(page.text("JSON.stringify(localStorage) + document.cookie")).isEqualTo("{}");
    page.load("Page.reload", Map.of());
    page.await("document.querySelector('#status').textContent === 'Live'");
    choose("#theme", "dark");
    assertThat(page.text("getComputedStyle(document.body).backgroundColor"))
        .isEqualTo("rgb(16, 20, 26)");
    page.evaluate("document.querySelector('#leave').click()");
    page.await("document.querySelector('#house').hidden");
    assertThat(page.text("sessionStorage.getItem('token')")).isEqualTo("null");
  }

  private void enter(String token) {
    page.await("!document.querySelector('#door').hidden");
    page.evaluate("document.querySelector('#token').value = '" + token
        + "'; document.querySelector('#door button').click()");
  }

  @Test
  void outlivesTheServerAndTheDevice() throws IOException {
    EmulatedDevice hardware = nic().msix(4).build();
    owned = open(hardware);
    bridge = serve(0, owned);
    owned.interrupts().msix().enable(1).block(LIMIT);
    hardware.raiseMsix(0);
    page = chromium.open(address());
    awaitRow("MSI-X 0", "1");
    int port = bridge.uri().getPort();
    bridge.close().block(LIMIT);
    page.await("document.querySelector('#status').textContent === 'Connecting…'");
    hardware.raiseMsix(0);
    bridge = serve(port, owned);
    page.await("document.querySelector('#status').textContent === 'Live'");
    awaitRow("MSI-X 0", "2");
    owned.close().block(LIMIT);
    page.await("document.querySelector('#notice').textContent.startsWith('The owner has closed')");
    page.await("document.querySelector('#devices small').textContent === 'closed'");
    page.size(1280, 900);
    page.keep(SCREENSHOTS.resolve("closed.png"));
    checkAccessibility();
  }
}
