package testbed;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;

import org.opensearch.analysis.common.CommonAnalysisPlugin;
import org.opensearch.common.settings.Settings;
import org.opensearch.index.reindex.ReindexPlugin;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.painless.PainlessPlugin;
import org.opensearch.plugins.Plugin;
import org.opensearch.transport.Netty4Plugin;

/** One OpenSearch node in this JVM, until SIGTERM. Usage: {@code TestNode HOME KUROMOJI(true|false) [setting=value ...]} */
public final class TestNode extends Node {

    private TestNode(Settings settings, List<Class<? extends Plugin>> plugins) {
        super(InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), null, () -> "node-1"), plugins, true);
    }

    public static void main(String[] args) {
        Settings.Builder settings = Settings.builder()
            .put("path.home", Path.of(args[0]).toAbsolutePath())
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("transport.port", "0") // any free one
            .put("cluster.routing.allocation.disk.threshold_enabled", false); // a full disk is no test failure
        for (String arg : List.of(args).subList(2, args.length)) {
            String[] pair = arg.split("=", 2);
            settings.put(pair[0], pair[1]);
        }

        List<Class<? extends Plugin>> plugins = new ArrayList<>(List.of(
            Netty4Plugin.class,
            PainlessPlugin.class,
            CommonAnalysisPlugin.class,
            ReindexPlugin.class
        ));
        if (Boolean.parseBoolean(args[1])) {
            plugins.add(KuromojiPlugin.class);
        }

        try {
            Node node = new TestNode(settings.build(), plugins);
            CountDownLatch closed = new CountDownLatch(1);
            Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                try {
                    node.close();
                } catch (Exception e) {
                    e.printStackTrace();
                }
                closed.countDown();
            }));
            node.start();
            closed.await(); // all of the node's own threads are daemons
        } catch (Throwable e) { // a port in use, a setting that does not exist
            e.printStackTrace();
            System.exit(1);
        }
    }
}
